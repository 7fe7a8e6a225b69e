"""Where a server takes writes: of a cluster's members, only the one that leads."""

from __future__ import annotations

from typing import Any

from pyinfra import host
from pyinfra.api import FactBase

from deploy.operations.cluster.psql import port_of


class Writes(FactBase[bool]):
    """Whether a server runs that is no standby."""

    def command(self, cluster: str) -> str:
        """Return the command that asks."""
        asked = f"runuser -u postgres -- psql -XqAt -p {port_of(cluster)} -d postgres -c 'select pg_is_in_recovery()'"
        return f"cd / && command -v psql >/dev/null && {asked} 2>/dev/null || true"

    def process(self, output: list[str]) -> bool:
        """Return the answer."""
        return output == ["f"]

    default = bool


def takes_writes() -> bool:
    """Tell whether this host's server does, at the moment of an operation."""
    return bool(host.get_fact(Writes, cluster=host.data.postgres_cluster))


def follows() -> bool:
    """Tell whether this host's server does not, at the moment of an operation."""
    return not takes_writes()


def on_the_primary() -> dict[str, Any]:
    """Return what makes an operation skip a cluster's standbys; nothing where one host has the database to itself."""
    return {"_if": takes_writes} if "cluster" in host.groups else {}
