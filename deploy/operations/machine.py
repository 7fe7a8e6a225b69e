"""What a host has to offer."""

from __future__ import annotations

from typing import Literal, TypedDict

from pyinfra.api import FactBase

from deploy.tuning import postgres_settings


class MachineDict(TypedDict):
    """Memory in bytes, cores, and whether the kernel is somebody else's."""

    memory_bytes: int
    cores: int
    in_container: bool


class Machine(FactBase[MachineDict]):
    """Memory and cores, as far as a container's limits let use them."""

    def command(self) -> str:
        """Return the command that asks."""
        return (
            "awk '/^MemTotal:/ {print $2 * 1024}' /proc/meminfo; nproc; "
            "systemd-detect-virt --quiet --container && echo yes || echo no; "
            "cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max"
        )

    def process(self, output: list[str]) -> MachineDict:
        """Return the numbers; half a megabyte more or less is none: settings must not follow it."""
        memory, cores, container, limit = output
        sizes = [int(float(size)) for size in (memory, limit) if size != "max"]
        return {"memory_bytes": min(sizes), "cores": int(cores), "in_container": container == "yes"}


def server_settings(
    machine: MachineDict, memory_share: float, disk: Literal["ssd", "hdd"], max_connections: int
) -> dict[str, str]:
    """Return the sizes of a server that has this share of the machine, see :mod:`deploy.tuning`."""
    return postgres_settings(
        memory_bytes=int(machine["memory_bytes"] * memory_share),
        cores=machine["cores"],
        disk=disk,
        max_connections=max_connections,
        in_container=machine["in_container"],
    )
