"""Whose data the members of a cluster shall have, and what is refused before anything is changed."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import OperationError
from pyinfra.api.exceptions import PyinfraError

from deploy.operations.cluster.clusters import ClusterState, Identifier
from deploy.operations.failover.patroni import Enabled


def founds() -> bool:
    """Tell whether this host is the one whose data all members shall have: who has some, or else the first."""
    data = host.data
    if host.get_fact(Enabled):
        return False
    others = [host.state.inventory.get_host(name) for name in data.cluster_members]
    if any(one.get_fact(Enabled) for one in others):
        return False
    filled = [one.name for one in others if one.get_fact(ClusterState, cluster=data.postgres_cluster).get("filled")]
    if len(filled) > 1:
        raise OperationError(
            f"{' and '.join(filled)} hold data that are not one cluster's: move away what is not wanted, and run again"
        )
    return bool(host.name == (filled or list(data.cluster_members))[0])


def refuse_strangers() -> None:
    """Raise PyinfraError, before anything is changed, where members hold data of different clusters.

    Patroni of one of them would not start, and nobody but its log would say why.
    """
    data = host.data
    found: dict[str, list[str]] = {}
    for name in data.cluster_members:
        one = host.state.inventory.get_host(name)
        if identifier := one.get_fact(Identifier, cluster=data.postgres_cluster):
            found.setdefault(identifier, []).append(name)
    if len(found) > 1:
        whose = " and ".join(", ".join(names) for names in found.values())
        raise PyinfraError(
            f"{whose} hold data of different clusters: move /var/lib/postgresql/{data.postgres_cluster} away where it "
            "is not wanted, and run again"
        )


def refuse_members() -> None:
    """Raise PyinfraError where this host is to have the database to itself, and is one of a cluster."""
    if host.get_fact(Enabled):
        raise PyinfraError(
            f"{host.name} is a member of a cluster that DATABASE_HOSTS names no more: name all three, or make it the "
            "only host as docs/hosts.md says, Three hosts"
        )
