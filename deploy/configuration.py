"""PostgreSQL's settings: one file beside Debian's, sized for the machine, and the server runs with it."""

from pyinfra import host
from pyinfra.operations import files

from deploy.operations import settings
from deploy.operations.connections import Demand
from deploy.operations.machine import Machine, server_settings
from deploy.operations.templates import JINJA, template

if "database" in host.groups:
    data = host.data
    folder = f"/etc/postgresql/{data.postgres_cluster}"

    files.template(
        name="Write PostgreSQL's settings",
        src=template("callytics.conf.j2"),
        jinja_env_kwargs=JINJA,
        dest=f"{folder}/conf.d/callytics.conf",
        user="root",
        group="postgres",
        mode="0640",
        settings={
            "listen_addresses": ", ".join(["localhost", *data.postgres_listen]),
            "port": str(data.postgres_port),
            "ssl_cert_file": f"{folder}/server.crt",
            "ssl_key_file": f"{folder}/server.key",
            **data.postgres_security,
            **data.postgres_logging,
            **server_settings(
                host.get_fact(Machine),
                data.postgres_memory_share,
                data.postgres_disk,
                Demand(data.postgres_app_hosts, data.postgres_app_pool).wanted,
            ),
        },
    )
    settings.none_past_the_files(name="Take back settings made past the files", cluster=data.postgres_cluster)
    settings.in_force(
        name="Run PostgreSQL with these settings",
        cluster=data.postgres_cluster,
        files=[
            f"{folder}/postgresql.conf",
            f"{folder}/conf.d/callytics.conf",
            f"/var/lib/postgresql/{data.postgres_cluster}/postgresql.auto.conf",
        ],
    )
