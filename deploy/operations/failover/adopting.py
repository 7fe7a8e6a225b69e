"""What the first member of a cluster brings along from the time when it had the database to itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FactBase, HiddenValue
from pyinfra.api.exceptions import PyinfraError

from deploy.operations.cluster.clusters import ClusterState
from deploy.operations.cluster.psql import JsonFact
from deploy.operations.failover.patroni import Enabled
from deploy.operations.hosts import reached

# What Patroni says itself, or a file has only for Debian's own programs.
PATRONIS = {
    "cluster_name",
    "data_directory",
    "dynamic_shared_memory_type",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "log_line_prefix",
    "stats_temp_directory",
    "unix_socket_directories",
}


class OwnSettings(JsonFact):
    """What a person's files say of PostgreSQL that Patroni does not have every member read; None without a server.

    ``answers`` are those by which a query's answer may differ, ``more`` the others, ``locales`` those that the data and
    the answers need.
    """

    query = "own_settings"


class Adopted(FactBase[list[str]]):
    """The lines of the file that brings settings to every member; none where there is no such file."""

    default = list

    def command(self, path: str) -> str:
        """Return the command that asks."""
        return f"cat {path} 2>/dev/null || true"

    def process(self, output: list[str]) -> list[str]:
        """Return the lines."""
        return output


class Locales(FactBase[list[str]]):
    """The locales that a host knows."""

    default = list

    def command(self) -> str:
        """Return the command that asks."""
        return "locale -a 2>/dev/null || true"

    def process(self, output: list[str]) -> list[str]:
        """Return their names."""
        return output


def _members() -> list[Any]:
    return [reached(name) for name in host.data.cluster_members]


def refuse_unknown_locales() -> None:
    """Raise PyinfraError, before anything is changed, where a host does not know a locale of the data it shall have.

    Its server would not start, or let nobody into the database.
    """
    members, cluster = _members(), host.data.postgres_cluster
    known = {one.name: one.get_fact(OwnSettings, cluster=cluster) or {} for one in members}
    wanted = {locale for own in known.values() for locale in own.get("locales", ())}
    for one in members:
        there = {_plain(locale) for locale in one.get_fact(Locales)}
        if lacking := sorted(locale for locale in wanted if _plain(locale) not in there):
            raise PyinfraError(
                f"{one.name} lacks {' and '.join(lacking)}, in which the database is kept: install locales there, name "
                "it in /etc/locale.gen, run locale-gen, and run again; nothing was changed"
            )


def _plain(locale: str) -> str:
    """Return a locale's name as libc compares it: C.UTF-8 is C.utf8."""
    return locale.lower().replace("-", "")


def adopted(path: str, kept: Mapping[str, str]) -> str:
    """Return the text by which every member answers as the first one did; empty where there is nothing to bring along.

    Once there is such a file it is people's: who comes later gets it from the others. ``kept`` are settings that every
    member has anyway.
    """
    members = _members()
    for one in (host, *members):
        if lines := one.get_fact(Adopted, path=path):
            return "\n".join(lines)
    if any(one.get_fact(Enabled) for one in members):
        return ""
    cluster = host.data.postgres_cluster
    owner = next((one for one in members if one.get_fact(ClusterState, cluster=cluster).get("filled")), host)
    answers = (owner.get_fact(OwnSettings, cluster=cluster) or {}).get("answers", {})
    lines = [f"{name} = {_quoted(said)}" for name, said in sorted(answers.items()) if kept.get(name) != said]
    head = f"# By these settings {owner.name} answered before it became a member. Yours from now on, on every member."
    return "\n".join([head, *lines]) if lines else ""


def brings(path: str, kept: Mapping[str, str]) -> bool:
    """Tell whether there is anything to bring along."""
    return bool(adopted(path, kept))


def as_text(path: str, kept: Mapping[str, str]) -> HiddenValue:
    """Return what `adopted` does, as a file's content."""
    return HiddenValue(adopted(path, kept))


def _quoted(said: str) -> str:
    # https://www.postgresql.org/docs/15/config-setting.html, and src/backend/utils/misc/guc-file.l
    escaped = said.replace("\\", r"\\").replace("'", "''").replace("\n", r"\n")
    return f"'{escaped}'"


def adopting() -> bool:
    """Tell, before anything is changed, whether there is data or a cluster already: a new one has nothing of before."""
    cluster = host.data.postgres_cluster
    return any(one.get_fact(Enabled) or one.get_fact(ClusterState, cluster=cluster).get("filled") for one in _members())


def warn_of_left_behind(kept: Mapping[str, str]) -> None:
    """Tell, before a host becomes the first member, which settings of its postgresql.conf will count no more.

    ``kept`` are those that every member gets.
    """
    if host.get_fact(Enabled):
        return
    own = (host.get_fact(OwnSettings, cluster=host.data.postgres_cluster) or {}).get("more", {})
    lost = sorted(name for name, said in own.items() if name not in PATRONIS and kept.get(name) != said)
    if lost:
        # Without what it says of them: a command or a connection's text may hold a password.
        folder = f"/etc/postgresql/{host.data.postgres_cluster}/conf.d"
        logger.warning(
            f"{host.print_prefix}postgresql.conf will not be read once Patroni runs: what it says of "
            f"{', '.join(lost)} and is to stay belongs into a file of your own in {folder} on every member"
        )
