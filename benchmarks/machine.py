"""What a benchmark runs on: the machine, its programs and their versions."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
from datetime import UTC, datetime

from processes import Usage, run_watched


def install_programs() -> None:
    """Install pgloader and psql where they are missing and this is root on Debian."""
    lacking = [program for program in ("pgloader", "psql") if not shutil.which(program)]
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        packages = [{"psql": "postgresql-client-15"}.get(program, program) for program in lacking]
        run_watched(["apt-get", "install", "-qq", "--no-install-recommends", *packages], timeout=600)
        lacking = [program for program in lacking if not shutil.which(program)]
    if lacking:
        raise SystemExit(f"{' and '.join(lacking)} missing: install them first")


def memory_bytes() -> int:
    """Return this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def versions() -> dict[str, str]:
    """Return what was measured, and on what."""
    postgres, _ = _printed(["psql", "--version"])
    loader, _ = _printed(["pgloader", "--version"])
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory_bytes() / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": postgres,
        "pgloader": loader,
    }


def _printed(command: list[str]) -> tuple[str, Usage]:
    usage, output = run_watched(command, timeout=60)
    return output.splitlines()[0], usage
