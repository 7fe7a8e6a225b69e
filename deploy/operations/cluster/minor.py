"""Minor upgrades of PostgreSQL: newer packages of the same major version, with one short restart."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, logger
from pyinfra.api import StringCommand, operation

from deploy.operations.cluster.psql import run_sql
from deploy.operations.cluster.server_settings import unit_of, wait_until_ready
from deploy.operations.debian_packages import QUIET, WAIT, Versions, to_the_end

APT = f"{QUIET} apt-get install -y {WAIT} -o Dpkg::Options::=--force-confold --allow-change-held-packages"


@operation()
def upgraded(packages: Sequence[str], cluster: str) -> Generator[StringCommand, None, None]:
    """Install the newest of ``packages``, whose scripts restart the server; hold them again.

    What is in memory is written first, so that the restart takes a second or two. If the server does not come back with
    the new ones, the old ones return and the operation fails.
    """
    found = host.get_fact(Versions, packages=packages)
    if not (outdated := {name: pair for name, pair in found.items() if "(none)" not in pair and len(set(pair)) > 1}):
        host.noop("PostgreSQL's packages are the newest")
        return
    if not host.state.is_executing:
        logger.info(f"{host.print_prefix}PostgreSQL from {' to '.join(next(iter(outdated.values())))}")
    yield run_sql(["checkpoint"], cluster=cluster, transaction=False)
    new, old = (" ".join(f"{name}={pair[which]}" for name, pair in outdated.items()) for which in (1, 0))
    ready, hold = f"( {wait_until_ready(cluster)} )", f"apt-mark hold {' '.join(packages)}"
    back = f"{APT} --allow-downgrades {old}; systemctl start {unit_of(cluster)}; {hold}; exit 1"
    yield to_the_end(f"( {APT} {new} && {ready} && {hold} || {{ {back}; }} )")
