"""Debian packages, and how to recover from an interrupted package manager."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.facts.deb import DebPackages

# An unattended upgrade may hold the lock of the packages. apt can wait for that one, but not for the lock of its lists.
WAIT = "-o DPkg::Lock::Timeout=300"
LOCKS = r"-lname /var/lib/apt/lists/lock -o -lname '/var/lib/dpkg/lock*'"
QUIET = "DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1"


class InterruptedPackages(FactBase[list[str]]):
    """What dpkg began and did not complete, after waiting up to five minutes for one that is still at work."""

    default = list

    def command(self) -> str:
        """Return the command that asks."""
        held = rf"find /proc/[0-9]*/fd \( {LOCKS} \) 2>/dev/null | grep -q ."
        return f"for try in $(seq 300); do {held} || break; sleep 1; done; dpkg --audit; ls /var/lib/dpkg/updates"

    def process(self, output: list[str]) -> list[str]:
        """Return dpkg's lines."""
        return output


@operation()
def mended() -> Generator[StringCommand, None, None]:
    """Complete an interrupted installation; configuration files that were edited stay as they are.

    Without this, apt refuses every installation until somebody logs in and repairs it.
    """
    if host.get_fact(InterruptedPackages):
        yield to_the_end(f"{QUIET} dpkg --configure -a --force-confold")
        yield to_the_end(f"{QUIET} apt-get install -y {WAIT} --fix-broken")
    else:
        host.noop("every package is complete")


@operation()
def present(packages: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Install missing packages without their recommendations; never upgrades one that is installed."""
    missing = sorted(set(packages) - set(host.get_fact(DebPackages)))
    if missing:
        yield to_the_end(f"apt-get update {WAIT}")
        yield to_the_end(f"{QUIET} apt-get install -y {WAIT} --no-install-recommends {' '.join(missing)}")
    else:
        host.noop(f"{', '.join(packages)} installed")


def to_the_end(command: str) -> StringCommand:
    """Return ``command`` so that it completes even if the connection is lost: writing to a lost one would kill it.

    Its output goes to a file, and is shown if it fails.
    """
    return StringCommand(
        f"said=$(mktemp); {command} >$said 2>&1; code=$?; [ $code = 0 ] || cat $said >&2; rm -f $said; exit $code"
    )
