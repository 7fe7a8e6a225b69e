"""PostgreSQL's cluster, which its package usually creates, and how systemd runs it."""

from typing import Any

from pyinfra import host
from pyinfra.operations import files, systemd

from deploy.operations import debian_packages, units
from deploy.operations.cluster import clusters
from deploy.operations.cluster.server_settings import unit_of
from deploy.operations.conf import conf
from deploy.operations.failover.adopting import refuse_unknown_locales, warn_of_left_behind
from deploy.operations.failover.founding import (
    anew,
    founds,
    refuse_anew,
    refuse_lone,
    refuse_members,
    refuse_others_servers,
    refuse_several,
    refuse_strangers,
    unused,
    warn_of_consents,
)

EVERY_ADDRESS = ("*", "0.0.0.0", "::")

if "database" in host.groups:
    cluster = host.data.postgres_cluster
    unit = f"{unit_of(cluster)}.service"
    drop_in = f"/etc/systemd/system/{unit}.d/callytics.conf"

    if "cluster" in host.groups:
        refuse_others_servers()
        refuse_strangers()
        refuse_several()
        refuse_unknown_locales()
        refuse_anew()
        refuse_lone()
        warn_of_consents()
        warn_of_left_behind(host.data.cluster_server)
    else:
        refuse_members()
    # Of a cluster's members one has a server before Patroni; the others have what it will read.
    first: dict[str, Any] = {"_if": founds} if "cluster" in host.groups else {}
    if "cluster" in host.groups:
        for folder in (f"/etc/postgresql/{cluster.partition('/')[0]}", f"/etc/postgresql/{cluster}"):
            files.directory(name=f"Make {folder}", path=folder, user="postgres", group="postgres", mode="0755")

    if "cluster" in host.groups and host.data.backup_secrets and not host.data.cluster_anew:
        # On every member: where one alone failed, the others would become members of nothing.
        debian_packages.present(name="Install pgBackRest", packages=host.data.backup_packages, _if=anew)
        unused(
            name="Found no cluster beside its backups",
            options=host.data.backup_options,
            secrets=host.data.backup_secrets,
            stanza=host.data.backup_stanza,
            _if=anew,
        )

    clusters.present(name=f"Create cluster {cluster}", cluster=cluster, **first)
    if "cluster" in host.groups:
        folder = f"/etc/postgresql/{cluster}/conf.d"
        files.directory(name=f"Make {folder}", path=folder, user="postgres", group="postgres", mode="0755")
    conf(
        name="Start PostgreSQL when the network's addresses are there",
        src="postgresql.service.conf.j2",
        dest=drop_in,
        addresses=[address for address in host.data.postgres_listen if address not in EVERY_ADDRESS],
    )
    units.loaded(name="Make systemd know PostgreSQL's unit", units={unit: [drop_in]})
    # After systemd knows the unit: this stops and starts it.
    clusters.checksums(name="Turn data checksums on", cluster=cluster, **first)
    # Not started here: server_settings.in_force does that once its files are complete, and names a mistake in them.
    systemd.service(name="Start PostgreSQL at boot", service="postgresql.service", running=None, enabled=True)
