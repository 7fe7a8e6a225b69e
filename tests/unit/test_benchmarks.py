"""Benchmarks begin: what they import of the program is where they look for it."""

from __future__ import annotations

import subprocess
import sys

from tests.support.places import REPOSITORY

# Those that need no programs besides the test's own.
NAMES = (
    "capacity",
    "cut_over",
    "failover",
    "faults",
    "fuzz",
    "import_speed",
    "import_time",
    "memory",
    "search",
    "walks",
)


def test_benchmarks_find_what_they_are_made_of() -> None:
    """No other test runs them, and a module that has moved would be noticed by whoever measures next."""
    imports = "; ".join(f"import {name}" for name in NAMES)
    done = subprocess.run(
        [sys.executable, "-c", imports],
        cwd=REPOSITORY / "benchmarks",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
