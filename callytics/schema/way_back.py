"""What a way back takes from the schema, for whoever is asked about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from callytics.postgres.connect import connected
from callytics.postgres.sql import Connection
from callytics.postgres.text import counted
from callytics.schema import made, versions
from callytics.schema.versions import SQL
from callytics.settings import Settings

# Whoever is asked waits for the count, and that there are more decides nothing.
MOST = 10_000


@dataclass(frozen=True)
class WayBack:
    """The ids of what is rolled back, the newest first, and a line for each table and column that goes with it."""

    migrations: list[str]
    takes: list[str]


def look(settings: Settings, to: str) -> WayBack:
    """Return what :func:`migrate.roll_back` takes; nothing is written. Raises as it does where it refuses."""
    with connected(settings, owner=True) as connection:
        later = versions.later(connection, to)
        versions.check_way_back(later)
        files = [versions.paths()[one] for one in reversed(later)]
        return WayBack(later, [*_tables(connection, files), *_columns(files)])


def _tables(connection: Connection, files: list[Path]) -> Iterator[str]:
    for file in files:
        # A rollback that keeps rows says so in the name of the place.
        aside = "rolled_back" in file.with_suffix(".rollback.sql").read_text(encoding="utf-8")
        for table in made.tables(file):
            if SQL.value(connection, "relation_exists", {"name": table}):
                rows = SQL.value(connection, "rows_up_to", {"most": MOST + 1}, table=table)
                said = f"more than {MOST:,} rows" if rows > MOST else counted(rows, "row")
                yield f"table {table}, {said}{(': put aside' if aside else ': deleted') if rows else ''}"


def _columns(files: list[Path]) -> Iterator[str]:
    gone = {table for file in files for table in made.tables(file)}
    for file in files:
        yield from (f"column {name} of {table}" for table, name in made.columns(file) if table not in gone)
