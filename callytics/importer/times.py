"""The times of a file for whoever has to say which zone they are of: examples, their readings, and contradictions."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from callytics.importer.convert.chunks import Conversion
from callytics.importer.convert.values import Unfit, convert
from callytics.importer.convert.zones import GLOB_BY_SQLITE, reading_of
from callytics.importer.plan.zones import time_columns
from callytics.postgres.sql import folded, sqlite_name

# Where the application writes local times unless its machine was set up otherwise: the other reading of a time.
APPLICATION_ZONE = ZoneInfo("Asia/Seoul")
TIMESTAMP = "timestamp with time zone"
# Rows at each end of a table that are compared with their parents': an application may have changed in between.
COMPARED = 500
# The offsets of zones are whole quarters of an hour, and mostly whole hours: that of a half hour is rare enough.
STEP = timedelta(minutes=30)
LARGEST_OFFSET = timedelta(hours=14)
# A row is written that much after another of the same call, at most, to be taken for one moment with it.
MOMENT = timedelta(minutes=2)


@dataclass(frozen=True)
class TimeColumn:
    """Times without an offset of a column, all written in one form: how they are read, with an example.

    ``zone`` is where they are taken to be from, and ``instant`` the example as read; ``other`` is the example in
    ``other_zone``, had that been the right one. A column without times has ``rows`` 0 and no example.
    """

    table: str
    column: str
    reading: str
    rows: int
    zone: str
    example: str | None = None
    instant: datetime | None = None
    other_zone: str | None = None
    other: datetime | None = None

    @property
    def name(self) -> str:
        """The column as options name it."""
        return f"{self.table}.{self.column}"


@dataclass(frozen=True)
class Disagreement:
    """Columns of one call that differ by the same hours in most rows: one of them is probably of another zone."""

    column: str
    than: str
    rows: int
    compared: int
    hours: float


def time_columns_of(conversion: Conversion) -> Iterator[TimeColumn]:
    """Yield the columns of times of a table; one twice in which there are times that SQLite wrote, and others."""
    mapped = conversion.table_mapping
    outputs = {source: output for output, source in mapped.mapping.outputs.items()}
    with conversion.source.opened() as sqlite:
        for column in time_columns(mapped):
            yield from _forms(conversion, sqlite, column, outputs[column])


def _forms(conversion: Conversion, sqlite: sqlite3.Connection, column: str, output: str) -> Iterator[TimeColumn]:
    mapped, zones = conversion.table_mapping, conversion.zones[output]
    reading = reading_of(conversion.readings, column)
    found = False
    for by_sqlite, zone in ((True, zones.by_sqlite), (False, zones.by_others)):
        rows, example = _example(conversion, sqlite, sqlite_name(output), by_sqlite)
        if not rows:
            continue
        found = True
        # What UTC may be mistaken for is the zone that was named, if one was.
        named = APPLICATION_ZONE if conversion.zone is UTC else conversion.zone
        other = named if zone is UTC else UTC
        yield TimeColumn(
            mapped.table.name, column, reading, rows, str(zone), example.decode(),
            _read(example, zone), str(other), _read(example, other),
        )  # fmt: skip
    if not found:
        yield TimeColumn(mapped.table.name, column, reading, 0, str(zones.by_sqlite))


def _example(conversion: Conversion, sqlite: sqlite3.Connection, column: str, by_sqlite: bool) -> tuple[int, Any]:
    """Return how many times of a column have a form, and the first of them; those with an offset are left out."""
    form = f"{column} glob '{GLOB_BY_SQLITE}'"
    other = (
        f"{column} glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' and not {form} and not ({column} glob '*Z' "
        f"or {column} glob '*[+-][0-9][0-9]:[0-9][0-9]' or {column} glob '*[+-][0-9][0-9][0-9][0-9]')"
    )
    rows, example, _ = sqlite.execute(
        f"{conversion.table_mapping.relation('true')} select count(*), {column}, min(source_rowid) from mapped "
        f"where typeof({column}) = 'text' and {form if by_sqlite else other}"
    ).fetchone()
    return rows, example


def _read(value: Any, zone: tzinfo) -> datetime | None:
    """Return a time as an instant; None for what an import rejects."""
    try:
        found = convert(value, TIMESTAMP, zone).value
    except Unfit:
        return None
    return found if isinstance(found, datetime) else None


def disagreements(conversions: Sequence[Conversion]) -> list[Disagreement]:
    """Return where times of one row, or a row's and its parent's, are the same hours apart in most rows compared."""
    parents = {folded(one.table_mapping.table.name): one for one in conversions}
    found: list[Disagreement] = []
    for child in conversions:
        with child.source.opened() as sqlite:
            rows = _ends(child, sqlite)
            found += _within(child, rows)
            for column, table in child.table_mapping.mapping.references.items():
                parent = parents.get(folded(table))
                if parent and "created_at" in _times(parent) and "created_at" in _times(child):
                    found += _beside(child, parent, sqlite, [(row[column], row["created_at"]) for row in rows])
    return found


def _times(conversion: Conversion) -> list[str]:
    """Return the outputs that are times of the file."""
    wanted = set(time_columns(conversion.table_mapping))
    return [output for output, source in conversion.table_mapping.mapping.outputs.items() if source in wanted]


def _ends(conversion: Conversion, sqlite: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the first and the last rows of a table, with its times as instants."""
    mapped = conversion.table_mapping
    times, names = _times(conversion), [*mapped.mapping.references, *_times(conversion)]
    if not times:
        return []
    select = f"{mapped.relation('true')} select source_rowid, {', '.join(map(sqlite_name, names))} from mapped"
    found: dict[int, dict[str, Any]] = {}
    for direction in ("asc", "desc"):
        for rowid, *values in sqlite.execute(f"{select} order by source_rowid {direction} limit {COMPARED}"):
            row = dict(zip(names, values, strict=True))
            found[rowid] = row | {name: _read(row[name], conversion.zones[name].of(row[name])) for name in times}
    return list(found.values())


def _within(conversion: Conversion, rows: Sequence[dict[str, Any]]) -> Iterator[Disagreement]:
    if "created_at" not in (times := _times(conversion)):
        return
    table = conversion.table_mapping.table.name
    for column in times:
        if column != "created_at":
            pairs = [(row[column], row["created_at"]) for row in rows]
            yield from _apart(f"{table}.{column}", f"{table}.created_at", pairs)


def _beside(
    child: Conversion, parent: Conversion, sqlite: sqlite3.Connection, rows: Sequence[tuple[Any, datetime | None]]
) -> Iterator[Disagreement]:
    mapped = parent.table_mapping
    ids = sorted({number for number, _ in rows if isinstance(number, int)})
    key, wanted = sqlite_name(mapped.mapping.key), f"in ({', '.join(map(str, ids))})"
    rowids = f"{mapped.table.rowid} {wanted}" if parent.source.key_is_rowid(mapped) else "true"
    created = {
        number: _read(value, parent.zones["created_at"].of(value))
        for number, value in sqlite.execute(
            f"{mapped.relation(rowids)} select {key}, created_at from mapped where {key} {wanted}"
        )
    }
    column, than = (f"{one.table_mapping.table.name}.created_at" for one in (child, parent))
    yield from _apart(column, than, [(moment, created.get(number)) for number, moment in rows])


def _apart(column: str, than: str, pairs: Sequence[tuple[datetime | None, datetime | None]]) -> Iterator[Disagreement]:
    """Yield one where more than half of the pairs are the same steps apart, and not at once."""
    both = [one - other for one, other in pairs if one and other]
    counted = Counter(round(apart / STEP) for apart in both if abs(apart - round(apart / STEP) * STEP) <= MOMENT)
    steps, rows = counted.most_common(1)[0] if counted else (0, 0)
    if steps and rows * 2 > len(both) and abs(steps * STEP) <= LARGEST_OFFSET:
        yield Disagreement(column, than, rows, len(both), steps * STEP / timedelta(hours=1))
