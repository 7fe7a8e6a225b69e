"""Minor upgrades of PostgreSQL: newer packages of the same major version, with one short restart."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, logger
from pyinfra.api import StringCommand, operation

from deploy.operations.cluster.psql import run_sql
from deploy.operations.cluster.server_settings import unit_of, wait_until_ready
from deploy.operations.debian_packages import QUIET, WAIT, Versions, to_the_end
from deploy.operations.failover import patroni

APT = f"{QUIET} apt-get install -y {WAIT} -o Dpkg::Options::=--force-confold --allow-change-held-packages"


@operation()
def upgraded(packages: Sequence[str], cluster: str) -> Generator[StringCommand, None, None]:
    """Install the newest of ``packages``, whose scripts restart the server; hold them again.

    What is in memory is written first, so that the restart takes a second or two. If the server does not come back with
    the new ones, the old ones return and the operation fails.
    """
    if not (outdated := _outdated(packages)):
        host.noop("PostgreSQL's packages are the newest")
        return
    yield run_sql(["checkpoint"], cluster=cluster, transaction=False)
    ready = f"( {wait_until_ready(cluster)} )"
    yield _replaced(outdated, ready, f"systemctl start {unit_of(cluster)}")


@operation()
def member_upgraded(packages: Sequence[str], place: patroni.Place) -> Generator[StringCommand, None, None]:
    """Do the same on a member of a cluster, which does not lead meanwhile; all others are well before and after.

    Patroni stops the server and starts it again: Debian's unit has nothing to restart. If this member is not back
    within five minutes, the old packages return and the operation fails.
    """
    if not (outdated := _outdated(packages)):
        host.noop("PostgreSQL's packages are the newest")
        return
    yield patroni.asking(place, "away")
    yield run_sql(["checkpoint"], cluster=place.cluster, transaction=False)
    yield StringCommand("systemctl stop", patroni.UNIT)
    start = f"systemctl start {patroni.UNIT}"
    yield _replaced(outdated, f"{start} && ( {patroni.asking(place, 'back')} )", f"systemctl restart {patroni.UNIT}")


def _outdated(packages: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the installed and the newest version of the packages that have a newer one."""
    found = host.get_fact(Versions, packages=packages)
    outdated = {name: pair for name, pair in found.items() if "(none)" not in pair and len(set(pair)) > 1}
    if outdated and not host.state.is_executing:
        logger.info(f"{host.print_prefix}PostgreSQL from {' to '.join(next(iter(outdated.values())))}")
    return outdated


def _replaced(outdated: dict[str, tuple[str, str]], ready: str, start: str) -> StringCommand:
    new, old = (" ".join(f"{name}={pair[which]}" for name, pair in outdated.items()) for which in (1, 0))
    hold = f"apt-mark hold {' '.join(outdated)}"
    back = f"{APT} --allow-downgrades {old}; {start}; {hold}; exit 1"
    return to_the_end(f"( {APT} {new} && {ready} && {hold} || {{ {back}; }} )")
