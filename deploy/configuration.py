"""PostgreSQL's settings: one file beside Debian's, sized for the machine, and a server that runs with it."""

from pyinfra import host

from deploy.operations.cluster import server_settings
from deploy.operations.cluster.machine import server_sizes
from deploy.operations.conf import conf

if "database" in host.groups:
    data = host.data
    folder = f"/etc/postgresql/{data.postgres_cluster}"

    conf(
        name="Write PostgreSQL's settings",
        src="callytics.conf.j2",
        dest=f"{folder}/conf.d/callytics.conf",
        group="postgres",
        mode="0640",
        settings={
            "listen_addresses": ", ".join(["localhost", *data.postgres_listen]),
            "port": str(data.postgres_port),
            "ssl_cert_file": f"{folder}/server.crt",
            "ssl_key_file": f"{folder}/server.key",
            # No two of these name the same setting: a later one would win without a word.
            **data.postgres_security,
            **data.postgres_logging,
            **server_sizes(),
        },
    )
    # Before the reload: postgresql.auto.conf is read last and would win over the file above.
    server_settings.none_past_the_files(name="Take back settings made past the files", cluster=data.postgres_cluster)
    server_settings.in_force(
        name="Run PostgreSQL with these settings",
        cluster=data.postgres_cluster,
        files=[
            f"{folder}/postgresql.conf",
            f"{folder}/conf.d/callytics.conf",
            f"/var/lib/postgresql/{data.postgres_cluster}/postgresql.auto.conf",
        ],
    )
