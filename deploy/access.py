"""Who may connect from where: pg_hba.conf and pg_ident.conf, written as a whole so that they hold nothing else."""

from pyinfra import host
from pyinfra.operations import files

from deploy.operations.cluster import server_settings
from deploy.operations.conf import conf, template

if "database" in host.groups:
    folder = f"/etc/postgresql/{host.data.postgres_cluster}"

    conf(
        name="Write pg_hba.conf",
        src="pg_hba.conf.j2",
        dest=f"{folder}/pg_hba.conf",
        group="postgres",
        mode="0640",
        access=host.data.postgres_access,
        # Accounts that are there once backups or monitoring are: either can be turned on by its own file.
        database=host.data.postgres_database,
    )
    files.put(
        name="Write pg_ident.conf",
        src=template("pg_ident.conf"),
        dest=f"{folder}/pg_ident.conf",
        user="root",
        group="postgres",
        mode="0640",
    )
    server_settings.in_force(
        name="Let PostgreSQL know who may come",
        cluster=host.data.postgres_cluster,
        files=[f"{folder}/pg_hba.conf", f"{folder}/pg_ident.conf"],
    )
