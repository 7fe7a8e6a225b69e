"""Debian packages, and how to recover from an interrupted package manager."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.facts.deb import DebPackages

# An unattended upgrade may hold the lock of the packages. apt can wait for that one, but not for the lock of its lists.
WAIT = "-o DPkg::Lock::Timeout=300"
LOCKS = r"-lname /var/lib/apt/lists/lock -o -lname '/var/lib/dpkg/lock*'"
# When a run last asked for news, until the host restarts; sources that were changed since then count anew.
LISTED, SOURCES = "/run/callytics-packages-listed", "/etc/apt/sources.list*"
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
        # A first run installs several times, and each reading of the lists takes seconds.
        asked, changed = f"find {LISTED} -mmin -10 2>/dev/null", f"find {SOURCES} -newer {LISTED} 2>/dev/null"
        known = f'[ -n "$({asked})" ] && [ -z "$({changed})" ]'
        yield to_the_end(f"{{ {{ {known}; }} || {{ apt-get update {WAIT} && touch {LISTED}; }}; }}")
        install = f"{QUIET} apt-get install -y {WAIT} --no-install-recommends {' '.join(missing)}"
        # Asking may have failed in part, which apt takes for a success: the next run asks again.
        yield to_the_end(f"{{ {install} || {{ rm -f {LISTED}; false; }}; }}")
    else:
        host.noop(f"{', '.join(packages)} installed")


class HeldPackages(FactBase[list[str]]):
    """Which packages an upgrade of the system leaves as they are."""

    default = list

    def command(self) -> str:
        """Return the command that asks."""
        return "apt-mark showhold"

    def process(self, output: list[str]) -> list[str]:
        """Return the names."""
        return output


@operation()
def held(packages: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Have upgrades of the system leave ``packages`` as they are."""
    known: list[str] = host.get_fact(HeldPackages)
    missing = sorted(set(packages) - set(known))
    if missing:
        yield StringCommand("apt-mark hold", *missing)
    else:
        host.noop(f"{', '.join(packages)} held")


class ListsAge(FactBase[float]):
    """How many minutes ago apt asked for news; a very long time if it never did."""

    default = staticmethod(lambda: math.inf)

    def command(self) -> str:
        """Return the command that asks."""
        return "! cd /var/lib/apt/lists/partial 2>/dev/null || echo $(( $(date +%s) - $(stat -c %Y .) ))"

    def process(self, output: list[str]) -> float:
        """Return the minutes."""
        return float(output[0]) / 60


@operation()
def listed(minutes: int) -> Generator[StringCommand, None, None]:
    """Have apt ask for new versions, unless it did within the last ``minutes``."""
    if host.get_fact(ListsAge) > minutes:
        yield to_the_end(f"apt-get update {WAIT}")
    else:
        host.noop("apt has asked a moment ago")


class Versions(FactBase[dict[str, tuple[str, str]]]):
    """The installed version of packages, and the one that apt would install."""

    default = dict

    def command(self, packages: Sequence[str]) -> StringCommand:
        """Return the command that asks."""
        return StringCommand("LC_ALL=C apt-cache policy", *packages)

    def process(self, output: list[str]) -> dict[str, tuple[str, str]]:
        """Return the pairs by package."""
        words = [line.split() for line in output]
        names = [word[0].rstrip(":") for word, line in zip(words, output, strict=True) if line[:1] not in ("", " ")]
        found = {kind: [word[1] for word in words if word[0] == kind] for kind in ("Installed:", "Candidate:")}
        pairs = zip(found["Installed:"], found["Candidate:"], strict=True)
        return dict(zip(names, pairs, strict=True))


def to_the_end(command: str) -> StringCommand:
    """Return ``command`` so that it completes even if the connection is lost: writing to a lost one would kill it.

    Its output goes to a file, and is shown if it fails.
    """
    return StringCommand(
        f"said=$(mktemp); {command} >$said 2>&1; code=$?; [ $code = 0 ] || cat $said >&2; rm -f $said; exit $code"
    )
