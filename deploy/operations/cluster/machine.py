"""A host's memory and cores, and the sizes of PostgreSQL that follow from them."""

from __future__ import annotations

from typing import Literal, TypedDict

from pyinfra import host
from pyinfra.api import FactBase
from pyinfra.api.exceptions import PyinfraError

from deploy.operations.cluster.connections import Demand
from deploy.operations.hosts import reached
from deploy.tuning import postgres_settings


class MachineDict(TypedDict):
    """Memory in bytes, cores, and whether the kernel is shared with others, as a container's is."""

    memory_bytes: int
    cores: int
    in_container: bool


class Machine(FactBase[MachineDict]):
    """Memory and cores within a container's limits."""

    def command(self) -> str:
        """Return the command that asks."""
        return (
            # nproc knows how many processors a container may use; MemTotal is its host's, so the limit is read as well.
            "awk '/^MemTotal:/ {print $2 * 1024}' /proc/meminfo; nproc; "
            "systemd-detect-virt --quiet --container && echo yes || echo no; "
            "cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max"
        )

    def process(self, output: list[str]) -> MachineDict:
        """Return the numbers; memory is the machine's or its container's limit, whichever is smaller."""
        memory, cores, container, limit = output
        sizes = [int(float(size)) for size in (memory, limit) if size != "max"]
        return {"memory_bytes": min(sizes), "cores": int(cores), "in_container": container == "yes"}


def server_settings(
    machine: MachineDict, memory_share: float, disk: Literal["ssd", "hdd"], max_connections: int
) -> dict[str, str]:
    """Return the sizes of a server that gets this share (0 to 1) of the machine, see :mod:`deploy.tuning`."""
    return postgres_settings(
        memory_bytes=int(machine["memory_bytes"] * memory_share),
        cores=machine["cores"],
        disk=disk,
        max_connections=max_connections,
        in_container=machine["in_container"],
    )


def server_sizes() -> dict[str, str]:
    """Return the sizes of this host's server, from the inventory and the machine."""
    data = host.data
    return server_settings(_machine(), data.postgres_memory_share, data.postgres_disk, _demand().wanted)


def connection_limits() -> dict[str, int]:
    """Return each role's share of this host's connections.

    Raises PyinfraError, with what to change, if the application's pools do not fit. It is raised while the operations
    are collected, before anything is changed.
    """
    try:
        return _demand().limits(int(server_sizes()["max_connections"]))
    except ValueError as error:
        raise PyinfraError(f"{host.name}: {error}") from None


def _machine() -> MachineDict:
    """Return this host, or the least of a cluster's members: a standby with fewer connections would not start."""
    names = host.data.get("cluster_members") or [host.name]
    machines = [reached(name).get_fact(Machine) for name in names]
    return {
        "memory_bytes": min(machine["memory_bytes"] for machine in machines),
        "cores": min(machine["cores"] for machine in machines),
        "in_container": any(machine["in_container"] for machine in machines),
    }


def _demand() -> Demand:
    return Demand(host.data.postgres_app_hosts, host.data.postgres_app_pool)
