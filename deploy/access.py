"""Who may come from where: pg_hba.conf and pg_ident.conf as a whole, so that nothing else is in them."""

from pyinfra import host
from pyinfra.operations import files

from deploy.operations import settings
from deploy.operations.templates import JINJA, template

if "database" in host.groups:
    folder = f"/etc/postgresql/{host.data.postgres_cluster}"

    files.template(
        name="Write pg_hba.conf",
        src=template("pg_hba.conf.j2"),
        jinja_env_kwargs=JINJA,
        dest=f"{folder}/pg_hba.conf",
        user="root",
        group="postgres",
        mode="0640",
        access=host.data.postgres_access,
    )
    files.put(
        name="Write pg_ident.conf",
        src=template("pg_ident.conf"),
        dest=f"{folder}/pg_ident.conf",
        user="root",
        group="postgres",
        mode="0640",
    )
    settings.in_force(
        name="Let PostgreSQL know who may come",
        cluster=host.data.postgres_cluster,
        files=[f"{folder}/pg_hba.conf", f"{folder}/pg_ident.conf"],
    )
