"""PostgreSQL's settings: one file beside Debian's, sized for the machine, and the server runs with it."""

from pyinfra import host
from pyinfra.operations import files

from deploy.operations import settings
from deploy.operations.machine import Machine
from deploy.operations.templates import JINJA, template
from deploy.tuning import postgres_settings

if "database" in host.groups:
    data = host.data
    folder = f"/etc/postgresql/{data.postgres_cluster}"
    machine = host.get_fact(Machine)

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
            **postgres_settings(
                memory_bytes=int(machine["memory_bytes"] * data.postgres_memory_share),
                cores=machine["cores"],
                disk=data.postgres_disk,
                max_connections=data.postgres_max_connections,
                in_container=machine["in_container"],
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
