"""pgBackRest on the hosts: its stanza, the first backup, and the proof that archiving works."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FactBase, StringCommand, operation

from deploy.operations.cluster.psql import JsonFact
from deploy.operations.debian_packages import to_the_end
from deploy.operations.hosts import failing
from deploy.operations.pgbackrest import TLS

# The codes of "status" in the document of pgbackrest info: https://pgbackrest.org/command.html#command-info
FINE, NO_STANZA, NO_BACKUP = 0, 1, 2
PGBACKREST = "cd / && runuser -u postgres -- pgbackrest --log-level-console=error --log-level-stderr=off"


class Repository(FactBase[Any]):
    """What pgBackRest knows of a stanza; None before it is installed and configured."""

    def command(self, stanza: str) -> str:
        """Return the command that asks."""
        ready = "command -v pgbackrest >/dev/null && [ -f /etc/pgbackrest/conf.d/callytics.conf ]"
        return f"if {ready} || grep -qs repo1-host= /etc/pgbackrest/pgbackrest.conf; then {_info(stanza)}; fi; true"

    def process(self, output: list[str]) -> Any:
        """Return the stanza's part of the document."""
        found = json.loads("\n".join(output)) if output else []
        return found[0] if found else None


class Serves(FactBase[bool]):
    """Whether pgBackRest's server was set up here, which has certificates of ours."""

    def command(self) -> str:
        """Return the command that asks."""
        return f"[ ! -d {TLS} ] || echo yes"

    def process(self, output: list[str]) -> bool:
        """Return the answer."""
        return output == ["yes"]

    default = bool


class SystemIdentifier(JsonFact):
    """The cluster's own number, which initdb draws; a restore keeps it, and pg_upgrade does not."""

    query = "system_identifier"


class Checked(FactBase[str]):
    """What ``pgbackrest check`` finds wrong, which has WAL archived and waits for it; empty if all is well."""

    default = str

    def command(self, stanza: str) -> str:
        """Return the command that asks."""
        return f"{PGBACKREST} --stanza={stanza} --archive-timeout=60 check 2>&1 || true"

    def process(self, output: list[str]) -> str:
        """Return the errors as one text."""
        return " ".join(line.strip() for line in output if "ERROR" in line) or (output[-1] if output else "")


class IsActive(FactBase[bool]):
    """Whether a unit runs or starts."""

    def command(self, unit: str) -> str:
        """Return the command that asks."""
        return f"systemctl is-active {unit} || true"

    def process(self, output: list[str]) -> bool:
        """Return it."""
        return output[:1] in (["active"], ["activating"])


@operation()
def stanza(stanza: str) -> Generator[StringCommand, None, None]:
    """Make the repository's room for the cluster, unless it is there.

    One that holds another cluster's backups is left alone: a new host is given its data back by a restore. Fails where
    the repository cannot be read, as with another key.
    """
    found = host.get_fact(Repository, stanza=stanza)
    if found is None or found["status"]["code"] == NO_STANZA:
        yield StringCommand(f"{PGBACKREST} --stanza={stanza} stanza-create")
    elif found["status"]["code"] not in (FINE, NO_BACKUP):
        why = " ".join([found["status"]["message"], *(one["status"]["message"] for one in found.get("repo", ()))])
        yield failing(
            f"the repository cannot be read: {why}: is BACKUP_KEY the one that it was made with, and its certificate "
            "one that this host trusts?"
        )
    else:
        host.noop("the repository has a stanza")


@operation()
def first_backup(stanza: str, unit: str) -> Generator[StringCommand, None, None]:
    """Begin a backup in the background where there is none yet."""
    found = host.get_fact(Repository, stanza=stanza)
    if (found is None or found["status"]["code"] == NO_BACKUP) and not host.get_fact(IsActive, unit=unit):
        yield StringCommand(f"systemctl start --no-block {unit}")
    else:
        host.noop("there is a backup, or it is being made")


@operation()
def recent(stanza: str, hours: int) -> Generator[StringCommand, None, None]:
    """Make a backup unless the newest is of the last ``hours``; fails where there is no repository."""
    found = host.get_fact(Repository, stanza=stanza)
    if found is None or found["status"]["code"] not in (FINE, NO_BACKUP):
        yield failing(
            "there is no backup to return to: run 'pyinfra -y inventory.py deploy/site.py', which sets backups up and "
            "upgrades as well, or set BACKUP_REPOSITORY=off"
        )
    elif age_hours(found) < hours:
        host.noop("there is a recent backup")
    else:
        # Another one may be under way (code 50), as after the first deployment.
        command = f"runuser -u postgres -- pgbackrest --log-level-console=error --stanza={stanza} --type=diff backup"
        yield to_the_end(f"( cd / && until {command}; do [ $? = 50 ] || exit 1; sleep 2; done )")


def age_hours(repository: Mapping[str, Any]) -> float:
    """Return how old the newest whole backup is."""
    stops = [backup["timestamp"]["stop"] for backup in repository["backup"] if not backup.get("error")]
    return (time.time() - max(stops, default=0)) / 3600


@operation()
def checked(stanza: str, cluster: str) -> Generator[StringCommand, None, None]:
    """Have WAL archived and see it arrive; nothing is changed.

    A repository with another cluster's backups, as on a new host, is not checked: a warning says how to restore, or
    after an upgrade to another major version how to go on. Fails where archiving does not work.
    """
    if not host.state.is_executing:
        return
    repository = host.get_fact(Repository, stanza=stanza)
    if is_foreign(repository, host.get_fact(SystemIdentifier, cluster=cluster)):
        logger.warning(
            f"{host.print_prefix}The repository holds another cluster's backups, and nothing is archived: "
            f"{remedy(repository, cluster, stanza)}, or name another BACKUP_REPOSITORY"
        )
    elif wrong := host.get_fact(Checked, stanza=stanza):
        yield failing(f"archiving does not work: {wrong}")


@operation()
def served_no_more() -> Generator[StringCommand, None, None]:
    """Stop the server by which database and repository talked, and remove what it was known by."""
    if host.get_fact(Serves):
        yield StringCommand(f"systemctl disable --quiet --now pgbackrest.service; rm -r {TLS}")
    else:
        host.noop("it was not set up")


def is_foreign(repository: Mapping[str, Any] | None, identifier: int | None) -> bool:
    """Return whether a repository knows clusters, and this one is not the newest of them."""
    known = [entry["system-id"] for entry in (repository or {}).get("db", [])]
    return bool(known) and identifier is not None and known[-1] != identifier


def remedy(repository: Mapping[str, Any], cluster: str, stanza: str) -> str:
    """Return what to do where a repository knows another cluster than ``cluster``, such as 15/main.

    A restore can't bring another major version's data into it: that was upgraded, or the host has the wrong packages.
    """
    ours, theirs = cluster.partition("/")[0], repository["db"][-1]["version"]
    if ours == theirs:
        return "run 'callytics backup restore' on this host"
    return (
        f"after an upgrade of PostgreSQL {theirs} to {ours} run 'sudo -u postgres pgbackrest --stanza={stanza} "
        f"stanza-upgrade' on the repository's host; otherwise set postgres_cluster to the backups' version and restore"
    )


def _info(stanza: str) -> str:
    return f"({PGBACKREST} --stanza={stanza} --output=json info)"
