"""PostgreSQL's cluster, which its package usually creates, and how systemd runs it."""

from pyinfra import host
from pyinfra.operations import systemd

from deploy.operations import units
from deploy.operations.cluster import clusters
from deploy.operations.cluster.server_settings import unit_of
from deploy.operations.conf import conf

EVERY_ADDRESS = ("*", "0.0.0.0", "::")

if "database" in host.groups:
    cluster = host.data.postgres_cluster
    unit = f"{unit_of(cluster)}.service"
    drop_in = f"/etc/systemd/system/{unit}.d/callytics.conf"

    clusters.present(name=f"Create cluster {cluster}", cluster=cluster)
    conf(
        name="Start PostgreSQL when the network's addresses are there",
        src="postgresql.service.conf.j2",
        dest=drop_in,
        addresses=[address for address in host.data.postgres_listen if address not in EVERY_ADDRESS],
    )
    units.loaded(name="Make systemd know PostgreSQL's unit", units={unit: [drop_in]})
    # After systemd knows the unit: this stops and starts it.
    clusters.checksums(name="Turn data checksums on", cluster=cluster)
    # Not started here: server_settings.in_force does that once its files are complete, and names a mistake in them.
    systemd.service(name="Start PostgreSQL at boot", service="postgresql.service", running=None, enabled=True)
