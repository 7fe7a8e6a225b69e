"""What the tests' hosts have beforehand, because it takes nothing but time: a third of what provisioning one does.

Libraries that do nothing by themselves, and a mirror of the wheels that Callytics needs, as a company has one.
`python -m tests.infra.stock` makes the system with the libraries, which the first host would.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.infra.lab import LabHost, Stock, base_system, kept, lacks, write
from tests.support.places import REPOSITORY

# PostgreSQL brings both.
LIBRARIES = ("libllvm14", "locales")


def stock() -> Stock:
    """Return what a lab of tests is stocked with."""
    return Stock(LIBRARIES, (mirror(),))


def mirror() -> Path:
    """Return a tree with the wheels, and the pip.conf that leads to them; fetched once for these requirements."""

    def make(tree: Path) -> None:
        for name in ("etc", "srv/wheels"):
            (tree / name).mkdir(parents=True)
        fetch(tree / "srv/wheels")
        write(tree / "etc/pip.conf", "[global]\nno-index = true\nfind-links = /srv/wheels\n")

    return kept("mirror", (REPOSITORY / "setup.cfg").read_text(), make)


def fetch(folder: Path) -> None:
    """Fetch all that this checkout needs on a Debian 12, and what builds it, but not itself."""
    wanted = [str(REPOSITORY), "setuptools", "wheel"]
    options = ["--quiet", "--only-binary=:all:", "--python-version", "3.11", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, *wanted], check=True)
    for own in folder.glob("callytics-*"):
        own.unlink()


def from_afar(host: LabHost) -> None:
    """Let a host's pip ask the index, as most do."""
    host.run("rm /etc/pip.conf")


if __name__ == "__main__":
    reason = lacks()
    if reason:
        sys.exit(reason)
    base_system(LIBRARIES)
