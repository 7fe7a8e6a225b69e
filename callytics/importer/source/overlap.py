"""Whether two files hold the same calls: a copy of an installation has its rows by their numbers, whatever its name."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from callytics.importer.convert.values import storage_class
from callytics.importer.source.mapping import SourceTable, missing
from callytics.importer.source.reader import RESULT_COLUMNS, Source
from callytics.importer.source.trouble import reading
from callytics.postgres.sql import folded, sqlite_name

# Tables whose rows tell calls apart by path, wording and times. Codes and settings are alike in every installation.
TELLING = {"audio_files", "consultation_sessions", "speaker_segments", "transcriptions", "utterances"}
# Row numbers that are looked up in a table, spread over its range.
SAMPLED = 200
# Of another branch's calls hardly a row is the same; of a copy hardly one is not, unless it was worked on for long. A
# few rows may be alike by chance, as in a file that was just begun, or made to try things.
COPIED = 0.1
FEWEST_EQUAL = 5


@dataclass(frozen=True)
class Overlap:
    """How many rows that two files have under the same number were compared, and how many of them are equal."""

    compared: int
    equal: int

    @property
    def is_copy(self) -> bool:
        """Tell whether the files hold the same calls."""
        return self.equal >= max(FEWEST_EQUAL, COPIED * self.compared)


def overlap(one: Source, other: Source) -> Overlap:
    """Compare a sample of the rows of two files that have the same number in both, in tables that tell calls apart."""
    counterparts = {folded(table.name): table for table in other.tables}
    compared = equal = 0
    # Two connections: SQLite attaches no file of another text encoding.
    with (
        reading(one.path, other.path),
        closing(one.connect_plain()) as connection,
        closing(other.connect_plain()) as earlier,
    ):
        for table in one.tables:
            counterpart = counterparts.get(folded(table.name))
            targets = {mapped.mapping.target for mapped in one.table_mappings[table.name]}
            if counterpart and targets & TELLING and table.has_row_numbers and counterpart.has_row_numbers:
                found = _compared(connection, table, earlier, counterpart)
                compared, equal = compared + len(found), equal + sum(found)
    return Overlap(compared, equal)


def _compared(
    connection: sqlite3.Connection, table: SourceTable, earlier: sqlite3.Connection, counterpart: SourceTable
) -> list[bool]:
    """Return of each sampled row that both tables have whether it is equal in the columns that both have."""
    lacking = missing(table.columns, counterpart.columns)
    columns = [column for column in table.columns if column not in lacking][:RESULT_COLUMNS]
    ends = f"select min({table.rowid}), max({table.rowid}) from {table.relation}"
    first, last = connection.execute(ends).fetchone()
    if first is None:
        return []
    following = f"select {table.rowid} from {table.relation} where {table.rowid} >= ? order by {table.rowid} limit 1"
    points = {first + (last - first) * step // SAMPLED for step in range(SAMPLED + 1)}
    numbers = {connection.execute(following, (point,)).fetchone()[0] for point in points}
    rows = ((_row(connection, table, columns, one), _row(earlier, counterpart, columns, one)) for one in numbers)
    return [row == before for row, before in rows if before]


def _row(
    connection: sqlite3.Connection, table: SourceTable, columns: Sequence[str], number: int
) -> list[tuple[str, Any]] | None:
    """Return the values of a row with their storage classes, since 1 and 1.0 are equal otherwise; None without one."""
    query = f"select {', '.join(map(sqlite_name, columns)) or 'null'} from {table.relation} where {table.rowid} = ?"
    row = connection.execute(query, (number,)).fetchone()
    return row and [(storage_class(value), value) for value in row]
