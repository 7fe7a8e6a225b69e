"""PostgreSQL 15's settings from a machine's memory, cores and disk: a pure function that needs no host.

``python deploy/tuning.py --memory 4GB --cores 2 --explain`` prints them with their reasons and the most memory that
they can take.

The rule behind every number: the machine has room for all connections busy at once, each with two hash tables of the
largest size, while every autovacuum worker runs and two indexes are built. If it would not, there is less work_mem,
and on the smallest machines there are fewer connections.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Disk = Literal["ssd", "hdd"]

KB = 1024
MB = 1024 * KB
GB = 1024 * MB
UNITS = {"": 1, "kB": KB, "MB": MB, "GB": GB, "TB": 1024 * GB}

SMALLEST_MEMORY = 512 * MB
# Memory is counted in whole steps of this size: every share below is then a whole number of megabytes, and more memory
# never means less of anything. It also keeps settings from changing with a kernel that reserves a little more.
STEP = 64 * MB

# A backend's own memory, measured on PostgreSQL 15 (Anonymous in /proc/PID/smaps_rollup): 3 MB when it has just
# started, 7 MB once it has read every table of the schema and caches its catalogue.
PROCESS = 7 * MB
# Without huge pages each process that has touched all of shared memory has a page table of 8 bytes a 4 kB page.
PAGE_TABLE_SHARE = 512
# Postmaster, checkpointer, background and WAL writer, two launchers, archiver, logger and two WAL senders read no
# tables: 1 to 2 MB each.
AUXILIARY_PROCESSES = 10
AUXILIARY = 2 * MB
# One row that is sorted and one that is joined: https://www.postgresql.org/docs/15/runtime-config-resource.html
# "several running sessions could be doing such operations concurrently".
NODES = 2
# The import builds indexes with two jobs; autovacuum's own limit is a setting of its own.
MAINTENANCE_SESSIONS = 2
MOST_WORK_MEM = 256 * MB
FEWEST_CONNECTIONS = 10
# On small machines the application's pool of 20 and everybody else come first, then a work_mem that does not send every
# sort to the disk, then more connections.
ESSENTIAL_CONNECTIONS = 40
LEAST_WORK_MEM = 256 * KB
DECENT_WORK_MEM = MB

# Why each setting has the value that it has, and who says so (docs: sections of https://www.postgresql.org/docs/15/,
# pgtune: https://github.com/le0pard/pgtune), in the order of the file.
REASONS = {
    "max_connections": ("what was asked for, or as many as fit into memory", "docs 20.3.1"),
    "shared_buffers": ("a quarter of memory, less below 1 GB", "docs 20.4.1; pgtune"),
    "huge_pages": ("large pages where the kernel has some reserved; a container can't reserve any", "docs 19.4.5"),
    "work_mem": ("what is left for each of two hash tables of every process, all at once", "docs 20.4.1"),
    "hash_mem_multiplier": ("the default: a hash table may take twice what a sort may", "docs 20.4.1"),
    "maintenance_work_mem": ("1/32 of memory, up to 2 GB, for each of two sessions that build indexes", "docs 20.4.1"),
    "autovacuum_work_mem": ("1/64 of memory a worker; vacuum can't use more than 1 GB", "docs 20.4.1"),
    "effective_cache_size": (
        "three quarters of memory: shared buffers and the kernel's cache",
        "docs 20.7.2; pgtune",
    ),
    "wal_buffers": ("a 32nd of the shared buffers, up to a WAL segment", "docs 20.5.1"),
    "max_locks_per_transaction": ("a dump or a query without a month locks every partition", "docs 20.12"),
    "max_worker_processes": ("the parallel workers, and as many as the default for the rest", "docs 20.4.6"),
    "max_parallel_workers": ("a worker a core, but not more than half the connections", "docs 20.4.6; pgtune"),
    "max_parallel_workers_per_gather": ("half the cores, up to 4: one report must not take them all", "pgtune"),
    "max_parallel_maintenance_workers": ("half the cores, up to 4", "pgtune"),
    "random_page_cost": ("nearly the cost of sequential reads on SSD; 4 on a turning disk", "docs 20.7.2; pgtune"),
    "effective_io_concurrency": ("requests that the disk serves at once", "docs 20.4.6; pgtune"),
    "maintenance_io_concurrency": ("the same for maintenance", "docs 20.4.6"),
    "checkpoint_timeout": (
        "fewer checkpoints, fewer full pages in the WAL; recovery takes minutes",
        "docs 30.5",
    ),
    "checkpoint_completion_target": ("the default: writes are spread over the interval", "docs 20.5.2"),
    "max_wal_size": (
        "half of memory from 1 to 16 GB: an import must not start checkpoints",
        "docs 30.5",
    ),
    "min_wal_size": ("a quarter of that is kept to be used again", "docs 20.5.2; pgtune"),
    "wal_compression": ("full pages take a third of the room for little of a core", "docs 20.5.1"),
    "autovacuum_max_workers": ("the default of 3, one for every 8 cores on large machines", "docs 20.10"),
    "autovacuum_vacuum_cost_limit": ("the default of 200 is meant for turning disks", "docs 20.10"),
    "autovacuum_vacuum_scale_factor": ("after 5 % of changes: a fifth of a large table is too much", "docs 20.10"),
    "autovacuum_vacuum_insert_scale_factor": ("tables that only grow need it for index-only scans", "docs 25.1.4"),
    "autovacuum_analyze_scale_factor": ("after 2 % of changes", "docs 25.1.3"),
    "jit": ("short queries pay more for compiling than they gain, partitioned ones most", "docs 32.2"),
    "shared_preload_libraries": (
        "statements are counted; plans can be logged for a while without a restart",
        "docs F.32",
    ),
    "pg_stat_statements.max": ("the default: as many different statements, in 4 MB of shared memory", "docs F.32.3"),
    "pg_stat_statements.track_utility": ("commands are kept as they were typed, passwords too", "docs F.32.3"),
    "auto_explain.log_min_duration": (
        "off: a plan of 15 shows the values of its query, also those bound",
        "docs F.4.1",
    ),
    "auto_explain.log_nested_statements": ("the same for statements inside functions", "docs F.4.1"),
    "track_io_timing": ("how long statements wait for the disk; two looks at a clock for each block", "docs 20.9.1"),
}

STATISTICS = {
    "shared_preload_libraries": "pg_stat_statements,auto_explain",
    "pg_stat_statements.max": "5000",
    "pg_stat_statements.track_utility": "off",
    "auto_explain.log_min_duration": "-1",
    "auto_explain.log_nested_statements": "off",
    "track_io_timing": "on",
}


@dataclass(frozen=True)
class Machine:
    """A server's resources, memory in bytes rounded down to whole steps."""

    memory: int
    cores: int
    disk: Disk = "ssd"
    in_container: bool = False

    @property
    def reserve(self) -> int:
        """What is left to the operating system and other programs: an eighth, from 80 MB to 32 GB."""
        return _between(80 * MB, self.memory // 8, 32 * GB)


def postgres_settings(
    *,
    memory_bytes: int,
    cores: int,
    disk: Disk = "ssd",
    max_connections: int = 100,
    in_container: bool = False,
) -> dict[str, str]:
    """Return the settings of PostgreSQL 15 for a machine that does little else.

    Their ``worst_case_bytes`` are within the machine's memory less its reserve, and more memory never lowers a value.
    ``max_connections`` is an upper limit: a hundred need 3 GB, and smaller machines get fewer, so read it from the
    result. Raises ValueError for less than 512 MB, no core, or fewer than 10 connections.
    """
    _refuse(memory_bytes, cores, max_connections)
    machine = Machine(memory_bytes // STEP * STEP, cores, disk, in_container)
    connections = _connections(machine, max_connections)
    # If there are fewer connections than wanted, work_mem must not take what is left of the next one's share: it would
    # shrink again on the slightly larger machine that has room for it.
    most_work_mem = MOST_WORK_MEM if connections == max_connections else _least_work_mem(connections + 1)
    settings = (
        _memory(machine, connections, most_work_mem)
        | _parallelism(machine)
        | _planner_and_disk(machine)
        | _write_ahead_log(machine)
        | _autovacuum(machine)
        | STATISTICS
    )
    return {name: settings[name] for name in REASONS}


def budget(settings: Mapping[str, str]) -> dict[str, int]:
    """Return the most memory that PostgreSQL can take with these settings, in bytes, by purpose."""
    workers, vacuums = int(settings["max_parallel_workers"]), int(settings["autovacuum_max_workers"])
    busy = int(settings["max_connections"]) + workers
    shared = _shared_memory(settings)
    return {
        "shared memory": shared,
        "processes": (busy + vacuums) * PROCESS + AUXILIARY_PROCESSES * AUXILIARY,
        "page tables": (busy + vacuums + AUXILIARY_PROCESSES) * shared // PAGE_TABLE_SHARE,
        "queries": int(busy * NODES * to_bytes(settings["work_mem"]) * float(settings["hash_mem_multiplier"])),
        "maintenance": MAINTENANCE_SESSIONS * to_bytes(settings["maintenance_work_mem"]),
        "autovacuum": vacuums * to_bytes(settings["autovacuum_work_mem"]),
    }


def worst_case_bytes(settings: Mapping[str, str]) -> int:
    """Return the most memory that PostgreSQL takes with these settings."""
    return sum(budget(settings).values())


def explain(settings: Mapping[str, str]) -> list[str]:
    """Return a line per setting: its value, the reason and the source."""
    width = max(len(f"{name} = {value}") for name, value in settings.items())
    return [
        f"{f'{name} = {value}':{width}}  # {REASONS[name][0]} ({REASONS[name][1]})" for name, value in settings.items()
    ]


def explain_budget(settings: Mapping[str, str], memory_bytes: int) -> list[str]:
    """Return a line for each purpose of ``budget``, their sum, and the machine's memory."""
    shares = {**budget(settings), "at worst": worst_case_bytes(settings), "memory": memory_bytes}
    return [f"{name:<13} {size // MB:>9,} MB" for name, size in shares.items()]


def to_bytes(text: str) -> int:
    """Read a size as PostgreSQL writes it: 64MB is 67108864."""
    found = re.fullmatch(r"(\d+) *(kB|MB|GB|TB|)", text.strip())
    if found is None:
        raise ValueError(f"'{text}' is no size: write a whole number and kB, MB, GB or TB")
    return int(found[1]) * UNITS[found[2]]


def _refuse(memory_bytes: int, cores: int, max_connections: int) -> None:
    if memory_bytes < SMALLEST_MEMORY:
        raise ValueError(f"{memory_bytes // MB} MB of memory are not enough: PostgreSQL needs a machine of 512 MB")
    if cores < 1:
        raise ValueError(f"{cores} cores: a machine has at least one")
    if max_connections < FEWEST_CONNECTIONS:
        raise ValueError(f"{max_connections} connections are not enough: allow at least {FEWEST_CONNECTIONS}")


def _connections(machine: Machine, wanted: int) -> int:
    """Return how many connections fit with the least work_mem that they need, at most ``wanted``."""
    # By halving: if some number of connections fits, so does every smaller one.
    low, high = FEWEST_CONNECTIONS, wanted
    while low < high:
        middle = (low + high + 1) // 2
        if _work_mem(machine, middle) >= _least_work_mem(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _least_work_mem(connections: int) -> int:
    return LEAST_WORK_MEM if connections <= ESSENTIAL_CONNECTIONS else DECENT_WORK_MEM


def _work_mem(machine: Machine, connections: int) -> int:
    """Return what is left for each plan node of each process after everything else has its share."""
    settings = _memory_of_others(machine, connections) | {"work_mem": "0"}
    left = machine.memory - machine.reserve - worst_case_bytes(settings)
    busy = connections + int(settings["max_parallel_workers"])
    return int(left / (busy * NODES * float(settings["hash_mem_multiplier"])))


def _memory_of_others(machine: Machine, connections: int) -> dict[str, str]:
    """Return the settings that take memory, without work_mem."""
    # docs 20.4.1: with less than 1 GB a smaller share, to leave space for the operating system.
    shared_buffers = min(machine.memory // 4, (machine.memory - 256 * MB) // 3) // MB * MB
    return {
        "max_connections": str(connections),
        "shared_buffers": _size(shared_buffers),
        "hash_mem_multiplier": "2.0",
        "maintenance_work_mem": _size(min(machine.memory // 32, 2 * GB)),
        "autovacuum_work_mem": _size(min(machine.memory // 64, GB)),
        "wal_buffers": _size(min(shared_buffers // 32, 16 * MB)),
        "max_locks_per_transaction": "128",
        "max_parallel_workers": str(_parallel_workers(machine, connections)),
        "max_worker_processes": str(_parallel_workers(machine, connections) + 8),
        "autovacuum_max_workers": str(_between(3, min(machine.cores // 8, connections // 10), 8)),
    }


def _memory(machine: Machine, connections: int, most_work_mem: int) -> dict[str, str]:
    work_mem = min(_work_mem(machine, connections), most_work_mem)
    return _memory_of_others(machine, connections) | {
        "work_mem": _size(work_mem // (64 * KB) * 64 * KB),
        "huge_pages": "off" if machine.in_container else "try",
        "effective_cache_size": _size(machine.memory // 4 * 3),
    }


def _shared_memory(settings: Mapping[str, str]) -> int:
    """Return an upper bound of PostgreSQL's shared_memory_size: buffers, their descriptors, locks and the rest."""
    slots = sum(int(settings[name]) for name in ("max_connections", "max_worker_processes", "autovacuum_max_workers"))
    locks = slots * int(settings["max_locks_per_transaction"]) * 512
    return int(to_bytes(settings["shared_buffers"]) * 1.04) + to_bytes(settings["wal_buffers"]) + locks + 16 * MB


def _parallel_workers(machine: Machine, connections: int) -> int:
    return min(machine.cores, connections // 2)


def _parallelism(machine: Machine) -> dict[str, str]:
    of_one_query = min(machine.cores // 2, 4)
    return {
        "max_parallel_workers_per_gather": str(of_one_query),
        "max_parallel_maintenance_workers": str(of_one_query),
    }


def _planner_and_disk(machine: Machine) -> dict[str, str]:
    return {
        "random_page_cost": {"ssd": "1.1", "hdd": "4"}[machine.disk],
        "effective_io_concurrency": {"ssd": "200", "hdd": "2"}[machine.disk],
        "maintenance_io_concurrency": {"ssd": "200", "hdd": "10"}[machine.disk],
        "jit": "off",
    }


def _write_ahead_log(machine: Machine) -> dict[str, str]:
    largest = _between(GB, machine.memory // 2, 16 * GB)
    return {
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "max_wal_size": _size(largest),
        "min_wal_size": _size(largest // 4),
        "wal_compression": "lz4",
    }


def _autovacuum(machine: Machine) -> dict[str, str]:
    return {
        "autovacuum_vacuum_cost_limit": {"ssd": "2000", "hdd": "400"}[machine.disk],
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.02",
    }


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))


def _size(size: int) -> str:
    """Write a size in whole megabytes where it is one, in kilobytes otherwise."""
    return f"{size // MB}MB" if size % MB == 0 and size else f"{size // KB}kB"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="PostgreSQL 15's settings for a machine.")
    parser.add_argument("--memory", type=to_bytes, required=True, help="for example 4GB")
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--disk", choices=["ssd", "hdd"], default="ssd")
    parser.add_argument("--max-connections", type=int, default=100)
    parser.add_argument("--in-container", action="store_true", help="huge pages can't be had")
    parser.add_argument("--explain", action="store_true", help="give reasons and the memory taken at worst")
    return parser


def _lines(arguments: argparse.Namespace) -> Iterator[str]:
    settings = postgres_settings(
        memory_bytes=arguments.memory,
        cores=arguments.cores,
        disk=arguments.disk,
        max_connections=arguments.max_connections,
        in_container=arguments.in_container,
    )
    if not arguments.explain:
        yield from (f"{name} = {value}" for name, value in settings.items())
        return
    yield from explain(settings)
    yield ""
    yield from explain_budget(settings, arguments.memory)


def main() -> None:
    """Print the settings for the machine that the arguments describe."""
    parser = _arguments()
    try:
        sys.stdout.writelines(f"{line}\n" for line in _lines(parser.parse_args()))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
