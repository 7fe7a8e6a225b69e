"""What a server is doing and what it costs: sessions, locks, statements, tables, indexes, replication, archiving."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from callytics.postgres.connect import connected
from callytics.postgres.errors import translated
from callytics.postgres.sql import Queries, Row
from callytics.settings import Settings
from callytics.status import advice
from callytics.status.advice import Advice
from callytics.status.literals import without_literals

SQL = Queries(Path(__file__).with_suffix(".sql"))
# Parameters of the queries: below these a finding is not worth a line.
LEAST = {"least_bytes": 10 * 1024**2, "least_rows": 10_000, "names": [*advice.SETTINGS]}
HIDDEN = "<insufficient privilege>"


@dataclass(frozen=True)
class Snapshot:
    """A server at one moment. ``sections`` are rows by subject; ``missing`` says what could not be told and why."""

    sight: Row
    sections: Mapping[str, list[Row]]
    missing: list[Advice] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        said = {name: [asdict(one) for one in getattr(self, name)] for name in ("missing", "advice")}
        return {"server": self.sight, **self.sections, **said}


@contextmanager
def looking(settings: Settings) -> Iterator[Callable[[], Snapshot]]:
    """Lend a function that takes snapshots over one read-only connection, as the owner where its login is configured.

    It never waits longer than a second for a lock nor 15 s for an answer: what takes longer is named in ``missing``.
    Raises DatabaseUnavailable.
    """
    with connected(settings, owner=True) as connection:
        # Each query is on its own: what one can't tell must not end the others.
        connection.set_session(readonly=True, autocommit=True)
        SQL.run(connection, "settle")

        def look() -> Snapshot:
            with translated(settings, owner=True):
                return take(connection)

        yield look


def take(connection: Connection) -> Snapshot:
    """Return a snapshot over a connection that `looking` has prepared."""
    sight = SQL.all(connection, "sight")[0]
    sections, missing = {}, [*advice.sight(sight)]
    for name, ask in SECTIONS.items():
        try:
            sections[name] = ask(connection)
        except (errors.LockNotAvailable, errors.QueryCanceled, errors.InsufficientPrivilege) as error:
            sections[name] = []
            missing.append(advice.untold(name, error))
    missing += _without_statements(connection)
    if not SQL.value(connection, "sees_widths"):
        missing.append(advice.no_widths(sight))
    return Snapshot(sight, sections, missing, [*advice.given(sight, sections)])


def _sessions(connection: Connection) -> list[Row]:
    rows = SQL.all(connection, "sessions")
    return [row | {"query": _harmless(row["query"])} for row in rows]


def _statements(connection: Connection) -> list[Row]:
    place = SQL.one(connection, "statistics_of_statements")
    if not place or not _is_loaded(connection):
        return []
    rows = SQL.all(connection, "statements", None, view=place["view"])
    return [row | {"query": _harmless(row["query"])} for row in rows]


def _without_statements(connection: Connection) -> Iterator[Advice]:
    installed = SQL.one(connection, "statistics_of_statements") is not None
    if not (installed and _is_loaded(connection)):
        yield advice.no_statements(installed=installed)


def _is_loaded(connection: Connection) -> bool:
    """Whether the server collects; only members of pg_read_all_settings see the list of libraries."""
    place = SQL.one(connection, "statistics_of_statements")
    if place is None:
        return False
    try:
        SQL.rows(connection, "collects", None, view=place["view"])
    except (errors.ObjectNotInPrerequisiteState, errors.InsufficientPrivilege):
        return False
    return True


def _harmless(query: str | None) -> str:
    return "" if query in (None, HIDDEN) else without_literals(str(query))


def _asked(query: str) -> Callable[[Connection], list[Row]]:
    return lambda connection: SQL.all(connection, query, LEAST)


def _checkpoints(connection: Connection) -> list[Row]:
    return SQL.all(connection, "checkpoints" if connection.server_version >= 170000 else "checkpoints_before_17", LEAST)


# In the order in which an operator asks.
SECTIONS: dict[str, Callable[[Connection], list[Row]]] = {
    "blocking": _asked("blocking"),
    "waits": _asked("waits"),
    "sessions": _sessions,
    "statements": _statements,
    "tables": _asked("tables"),
    "months": _asked("months"),
    "unused_indexes": _asked("unused_indexes"),
    "unindexed_keys": _asked("unindexed_keys"),
    "bloat": _asked("bloat"),
    "standbys": _asked("standbys"),
    "slots": _asked("slots"),
    "archiving": _asked("archiving"),
    "checkpoints": _checkpoints,
    "settings": _asked("settings"),
}
