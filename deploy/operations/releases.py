"""The releases of Callytics on a host: side by side in folders of their own, one of which a link names.

    /opt/callytics/releases/0.3.0-1a2b3c4d5e6f/     a virtual environment
    /opt/callytics/current -> releases/0.3.0-…      what units and the command use
    /opt/callytics/switched.json                    where this host came from, until every host has come along

An installation of before, whose virtual environment is /opt/callytics itself, counts as a release: the link names the
folder that it stands in.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api import FactBase, QuoteString, StringCommand, operation

from deploy.operations.application import Checkout
from deploy.operations.debian_packages import to_the_end
from deploy.operations.hosts import failing

OLDER_LAYOUT = "."
OLDER_FILES = "bin include lib lib64 share pyvenv.cfg installed"


@dataclass(frozen=True)
class Releases:
    """What a host has: where the link points (None without one), releases from old to new, and what was begun.

    ``switched`` tells whether it has switched and others, perhaps, have not; ``last`` is the migration that the
    database had before, None where nothing was migrated.
    """

    current: str | None
    names: tuple[str, ...]
    migrations: frozenset[str]
    unfinished: bool
    switched: bool = False
    last: str | None = None

    @property
    def used(self) -> str | None:
        """The release that the link names or, before there is a link, the installation of the older layout."""
        return self.current or next((name for name in self.names if name == OLDER_LAYOUT), None)


class FoundReleases(FactBase[Releases]):
    """The releases of a folder."""

    def command(self, folder: str) -> StringCommand:
        """Return the command that asks."""
        found = (
            "readlink current | sed 's/^/current /'; [ ! -x bin/callytics ] || echo release .;",
            "ls -1rtd releases/*/installed 2>/dev/null | sed 's,^,release ,; s,/installed$,,';",
            "[ ! -f switching.json ] || echo unfinished;",
            '[ ! -f switched.json ] || echo "switched $(cat switched.json)";',
            "[ -e current ] && lib=current/lib || lib=lib;",
            "find -L $lib -path '*/callytics/migrations/*.sql' -printf 'migration %f\\n' 2>/dev/null; true",
        )
        return StringCommand("! cd", QuoteString(folder), "2>/dev/null || {", *found, "; }")

    def process(self, output: list[str]) -> Releases:
        """Return what the lines say."""
        said = [(word, rest) for word, _, rest in (line.partition(" ") for line in output)]
        migrations = {rest.removesuffix(".sql") for word, rest in said if word == "migration"}
        switched = next((json.loads(rest) for word, rest in said if word == "switched"), None)
        return Releases(
            current=next((rest for word, rest in said if word == "current"), None),
            names=tuple(rest for word, rest in said if word == "release"),
            migrations=frozenset(name for name in migrations if not name.endswith(".rollback")),
            unfinished=("unfinished", "") in said,
            switched=switched is not None,
            last=switched["last"] if switched else None,
        )

    @staticmethod
    def default() -> Releases:
        """Return what a bare host has."""
        return Releases(None, (), frozenset(), unfinished=False)


@operation()
def taken_over(folder: str) -> Generator[StringCommand, None, None]:
    """Have the link name an installation of the older layout, which goes on running as it is."""
    found = host.get_fact(FoundReleases, folder=folder)
    if found.current is None and OLDER_LAYOUT in found.names:
        yield StringCommand(f"ln -s {OLDER_LAYOUT} {folder}/current")
    else:
        host.noop("the link is there, or nothing is installed")


@operation()
def used(folder: str, release: str) -> Generator[StringCommand, None, None]:
    """Have the link name ``release`` where nothing has to be migrated or restarted for it."""
    if host.get_fact(FoundReleases, folder=folder).current == release:
        host.noop(f"{release} is used")
    else:
        # Made beside and renamed: whoever looks finds the old one or the new one.
        yield StringCommand(f"cd {folder} && ln -sfn {release} current.new && mv -fT current.new current")


@dataclass(frozen=True)
class Service:
    """What a host runs of a release: the owner's settings, the unit, and where it answers."""

    settings: str
    unit: str
    url: str


@operation()
def switched(folder: str, checkout: Checkout, service: Service, first: str) -> Generator[StringCommand, None, None]:
    """Switch from one release to the checkout's: migrate, link, restart the service, ask the doctor.

    If any of these fails the host goes back to the release that it had, its migrations are rolled back, and the
    operation fails with the reason. It completes on the host even if the connection is lost, and goes on where one that
    was killed has left off. A host without a release is given the link alone. Of all hosts, which share a database, the
    ``first`` migrates. Run it there before it is run serially on the others: once a host has failed, in whatever, those
    after it keep what they have.
    """
    release, found = checkout.release, host.get_fact(FoundReleases, folder=folder)
    if found.current == release and not found.unfinished:
        host.noop(f"{release} is used")
    elif found.used is None:
        yield from used._inner(folder, release)
    elif failed := failed_hosts():
        yield failing(_kept(str(found.used), failed, one_way(checkout.folder, found)))
    else:
        if not host.state.is_executing:
            logger.info(f"{host.print_prefix}{_plan(found, release, brought(checkout.folder, found))}")
        yield _switch(folder, release, service, "--migrates" if host.name == first else _back_to(folder, first))


@operation()
def returned(folder: str, checkout: Checkout, service: Service) -> Generator[StringCommand, None, None]:
    """Go back where another host has failed and the database with it: the release before needs the schema before.

    Without a migration hosts that have switched stay as they are. It fails where the host went back, so that nothing
    else is done there. Run it serially.
    """
    failed, found = failed_hosts(), host.get_fact(FoundReleases, folder=folder)
    if failed and found.switched and found.last:
        yield _switch(folder, checkout.release, service, f"--back-because-of {','.join(failed)}")
    else:
        host.noop("no host has failed, or the release before runs on the database as it is")


@operation()
def ended_together() -> Generator[StringCommand, None, None]:
    """Fail on every host where an application host has failed: nothing else is upgraded then, a database neither."""
    if failed := failed_hosts():
        yield failing(f"the upgrade has ended: {', '.join(failed)} failed, which says why above")


@operation()
def settled(folder: str) -> Generator[StringCommand, None, None]:
    """Forget where the host came from, now that all have come along."""
    if host.get_fact(FoundReleases, folder=folder).switched:
        yield StringCommand(f"rm {folder}/switched.json")
    else:
        host.noop("nothing is to be forgotten")


def failed_hosts() -> list[str]:
    """Return the application hosts on which something of this run has failed; none before it has begun."""
    state = host.state
    if not state.is_executing:
        return []
    return [one.name for one in state.inventory if "app" in one.groups and state.results[one].error_ops]


def _back_to(folder: str, first: str) -> str:
    """Return the word that names the migration to roll back to, which the host knows that has migrated."""
    if not host.state.is_executing:
        return ""
    last = inventory.get_host(first).get_fact(FoundReleases, folder=folder).last
    return f"--back-to {last}" if last else ""


def _switch(folder: str, release: str, service: Service, words: str) -> StringCommand:
    return to_the_end(
        f"env -i PATH=/usr/bin:/bin LANG=C.UTF-8 python3 {folder}/switch_release.py {release} --folder {folder} "
        f"--settings {service.settings} --unit {service.unit} --url {service.url} {words}"
    )


def _kept(release: str, failed: Sequence[str], without: Sequence[str]) -> str:
    said = f"{release} is kept: {', '.join(failed)} failed"
    if not without:
        return said
    return (
        f"{said}. If the database has {without[0]} by now, which can't be rolled back, {release} runs on until it is "
        "restarted, and does not start again: correct what the other host says, and run this command again"
    )


@operation()
def reversible(folder: str, checkout: Checkout, accepted: bool) -> Generator[StringCommand, None, None]:
    """Fail where the checkout brings a migration that has no way back, unless that is ``accepted``."""
    wrong = "" if accepted else irreversible(checkout.folder, host.get_fact(FoundReleases, folder=folder))
    if wrong:
        yield failing(wrong)


@operation()
def pruned(folder: str, keep: int) -> Generator[StringCommand, None, None]:
    """Remove all releases but the used one and the newest others, ``keep`` in all, and what no run has completed."""
    found = host.get_fact(FoundReleases, folder=folder)
    unwanted = unused(found, keep)
    if found.unfinished or not unwanted:
        host.noop("no release is to go")
        return
    for release in unwanted:
        files = OLDER_FILES if release == OLDER_LAYOUT else release
        yield StringCommand(f"cd {folder} && rm -rf {files}")


def irreversible(checkout: Path, found: Releases) -> str:
    """Return why a host can't be given a checkout: a migration that has no way back; nothing where all have one."""
    without = one_way(checkout, found)
    return (
        ""
        if not without
        else (
            f"migration {without[0]} can't be rolled back, so a failed upgrade could not be taken back: set "
            "UPGRADE_ONE_WAY=yes in .env once there is a backup that you would restore"
        )
    )


def unused(found: Releases, keep: int) -> list[str]:
    """Return the releases that are to go, the oldest first."""
    others = [name for name in found.names if name != found.current]
    return others[: max(0, len(others) - (keep - 1))]


def brought(checkout: Path, found: Releases) -> list[str]:
    """Return the migrations that a checkout has and the used release has not."""
    names = (path.stem for path in sorted((checkout / "migrations").glob("*.sql")))
    return [name for name in names if not name.endswith(".rollback") and name not in found.migrations]


def one_way(checkout: Path, found: Releases) -> list[str]:
    """Return the migrations among those that can't be rolled back; none where nothing is installed yet."""
    ways = checkout / "migrations"
    new = brought(checkout, found) if found.used else []
    return [name for name in new if not (ways / f"{name}.rollback.sql").is_file()]


def _plan(found: Releases, release: str, migrations: Sequence[str]) -> str:
    old = "the older layout" if found.used == OLDER_LAYOUT else str(found.used)
    which = f"{len(migrations)} migrations ({migrations[0]} … {migrations[-1]})" if migrations else "no migration"
    return f"From {old} to {release}, with {which}"
