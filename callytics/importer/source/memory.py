"""How much memory is free for values, which are held as a whole several times on their way to PostgreSQL."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/proc/meminfo")
OWN = Path("/proc/self/statm")
# The memory that this process's group may take: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory
GROUP = Path("/sys/fs/cgroup/memory.max")


def free_bytes() -> int | None:
    """Return how many bytes this process can take before it is refused more, or killed; None where nothing tells."""
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    with suppress(OSError):
        if found := re.search(r"^MemAvailable: +(\d+) kB$", MEMORY.read_text(), re.MULTILINE):
            yield int(found[1]) * 1024
    with suppress(OSError):
        if (group := GROUP.read_text().strip()).isdigit():
            yield int(group)
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        with suppress(OSError):
            yield max(0, most - int(OWN.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE"))
