"""What a process and everything that it started took: wall time, CPU, and memory at its peak (Linux only)."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.02
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """Seconds of wall time and of CPU, and the peak of resident bytes, of a process with its children."""

    wall: float
    cpu: float
    peak_bytes: int


def run_watched(
    command: Sequence[str | Path], *, timeout: float, environment: Mapping[str, str] | None = None
) -> tuple[Usage, str]:
    """Run a program to its end; returns what its process tree took and what it printed.

    CPU includes children that have ended and were waited for. Memory is the sum of the tree's resident sets, sampled
    50 times a second. Raises `SystemExit` with the program's words where it fails or takes longer than `timeout`.
    """
    began = time.monotonic()
    before = os.times()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=None if environment is None else os.environ | environment,
        start_new_session=True,
    )
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise SystemExit(f"{command[0]} took longer than {timeout:.0f} s") from None
    finally:
        watcher.join()
    after = os.times()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed:\n{output}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Usage(time.monotonic() - began, cpu, peak[0]), output


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_resident(pid) for pid in tree(process.pid)))
        time.sleep(SAMPLE_SECONDS)


def tree(root: int) -> Iterator[int]:
    """Yield a process and its descendants, as far as they still run."""
    yield root
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a running process, of its descendants, and of those that it has waited for."""
    ticks = 0
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS
