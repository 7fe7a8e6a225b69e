"""What is recorded of imports, as the completion report reads it: the entries of a run, and where they come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from psycopg2.extensions import connection as Connection

from callytics.importer.records.entries import OrphanedKey, entries
from callytics.postgres.errors import translated
from callytics.postgres.sql import Queries
from callytics.schema.readiness.importing import check_ready, import_connection
from callytics.settings import Settings

SQL = Queries(Path(__file__).with_name("recorded.sql"))
T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """Where the records are."""

    database: str
    version: str


@dataclass(frozen=True)
class RunEntry:
    """A run: its verdict, by which version of callytics, and when."""

    id: int
    status: str
    version: str
    timezone: str
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class FileEntry:
    """A file of a run; `taken_at` is when its latest snapshot was taken."""

    id: int
    path: str
    snapshot_path: str
    sha256: str
    size_bytes: int
    taken_at: datetime
    undone_at: datetime | None


@dataclass(frozen=True)
class Deferral:
    """Indexes, or foreign keys, that were dropped for the load, and how many of them are back."""

    kind: str
    dropped: int
    restored: int


@dataclass(frozen=True)
class StepEntry:
    """A step of a run; `table_id` is that of the table it concerned, if it was one."""

    step: str
    table_id: int | None
    name: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class SizeEntry:
    """Bytes of a table that a run wrote; those after it are None while it runs."""

    target_table: str
    table_bytes_before: int
    index_bytes_before: int
    table_bytes_after: int | None
    index_bytes_after: int | None


@dataclass(frozen=True)
class SyncEntry:
    """What catching up with a file changed."""

    path: str
    started_at: datetime
    finished_at: datetime
    inserted: int
    updated: int
    deleted: int
    conflicts: int
    kept: str | None
    sha256: str


@dataclass(frozen=True)
class ZoneChangeEntry:
    """When the zones of an import were changed after it, and how many rows that wrote."""

    timezone_before: str
    timezone: str
    readings: dict[str, list[str]]
    changed: int
    kept: str | None
    finished_at: datetime


@dataclass(frozen=True)
class CommitEntry:
    """Rows that were committed together."""

    committed_at: datetime
    rows: int


@dataclass(frozen=True)
class KeySummary:
    """A foreign key that was left NOT VALID; the keys of a table's partitions are one."""

    table_name: str
    name: str
    definition: str
    keys: int
    orphans: int


@contextmanager
def records(settings: Settings) -> Iterator[Connection]:
    """Yield a connection to a database with records; `TargetError` where it is not migrated."""
    with translated(settings, owner=True), closing(import_connection(settings)) as connection:
        check_ready(connection, writes=False)
        yield connection


def read(connection: Connection, kind: type[T], query: str, run: int | None = None) -> list[T]:
    """Return the rows of a query of recorded.sql."""
    return entries(kind, SQL.all(connection, query, {"run": run}))


def by_table(keys: list[OrphanedKey]) -> list[KeySummary]:
    """Return one entry for the same key of all partitions of a table."""
    together: defaultdict[tuple[str, str], list[OrphanedKey]] = defaultdict(list)
    for key in keys:
        together[key.whole_table, key.definition].append(key)
    found = [
        KeySummary(table, min(key.name for key in same), definition, len(same), sum(key.orphans for key in same))
        for (table, definition), same in together.items()
    ]
    return sorted(found, key=lambda key: (key.table_name, key.name))
