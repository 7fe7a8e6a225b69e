"""Measure how long it takes to make a database of a bare machine, and how long to find out that nothing has changed.

    python benchmarks/provision.py [--hosts 1|2] [--runs N]

As root on Linux: boots bare Debian 12 hosts on this machine with tests/infra/lab.py, runs `pyinfra -y inventory.py
deploy/site.py` on them, runs it again, and takes them down. With two hosts the application has one of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.infra.deployment import Deployment
from tests.infra.lab import Lab, base_system, lacks

STEPS = ("boot", "first run", "second run")


def measure(hosts: int) -> dict[str, float]:
    """Return the seconds of each step; a run that fails, or a second one that changes anything, ends the program."""
    seconds: dict[str, float] = {}
    with Lab(f"benchmark{os.getpid()}") as lab, tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        machines = [lab.host(name) for name in ("database", "app")[:hosts]]
        seconds["boot"] = time.monotonic() - begin
        deployment = Deployment.prepare(Path(folder), machines[0], machines[-1])
        for step in STEPS[1:]:
            begin = time.monotonic()
            run = deployment.run()
            seconds[step] = time.monotonic() - begin
        if run.changed:
            sys.exit(f"the second run changed: {', '.join(run.changed)}")
    return seconds


def main() -> None:
    """Print a table of medians and extremes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, choices=(1, 2), default=1)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if reason := lacks():
        sys.exit(reason)
    base_system()
    runs = [measure(options.hosts) for _ in range(options.runs)]
    sys.stdout.write(f"{options.hosts} host(s), {os.cpu_count()} cores, {options.runs} runs, seconds\n\n")
    sys.stdout.write("| step | median | fastest | slowest |\n|---|---|---|---|\n")
    for step in STEPS:
        values = [run[step] for run in runs]
        sys.stdout.write(f"| {step} | {statistics.median(values):.1f} | {min(values):.1f} | {max(values):.1f} |\n")


if __name__ == "__main__":
    main()
