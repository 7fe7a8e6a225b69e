"""Whether two files hold the same calls: a copy of an installation has its rows by their numbers, whatever its name."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from callytics.importer.source.mapping import SourceTable, missing
from callytics.importer.source.reader import Source
from callytics.postgres.sql import folded, quote

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
    with closing(one.connect_beside(other)) as connection:
        for table in one.tables:
            counterpart = counterparts.get(folded(table.name))
            targets = {mapped.mapping.target for mapped in one.table_mappings[table.name]}
            if counterpart and targets & TELLING and table.has_row_numbers and counterpart.has_row_numbers:
                found = _compared(connection, table, counterpart)
                compared, equal = compared + len(found), equal + sum(found)
    return Overlap(compared, equal)


def _compared(connection: sqlite3.Connection, table: SourceTable, counterpart: SourceTable) -> list[bool]:
    """Return of each sampled row that both tables have whether it is equal in the columns that both have."""
    lacking = missing(table.columns, counterpart.columns)
    columns = [quote(column) for column in table.columns if column not in lacking]
    # Numbers of different storage classes are equal to SQLite, and a collation could make texts equal.
    same = " and ".join(
        f"typeof(o.{name}) = typeof(e.{name}) and o.{name} is e.{name} collate binary" for name in columns
    )
    name = quote(table.name)
    rowid, earlier = f"o.{table.rowid}", f"e.{counterpart.rowid}"
    query = (
        f"select {same} from main.{name} as o not indexed join other.{name} as e not indexed on {earlier} = {rowid} "
        f"where {rowid} = ?"
    )
    following = f"select {table.rowid} from {table.relation} where {table.rowid} >= ? order by {table.rowid} limit 1"
    ends = f"select min({table.rowid}), max({table.rowid}) from {table.relation}"
    first, last = connection.execute(ends).fetchone()
    if first is None:
        return []
    points = {first + (last - first) * step // SAMPLED for step in range(SAMPLED + 1)}
    numbers = {connection.execute(following, (point,)).fetchone()[0] for point in points}
    rows = (connection.execute(query, (number,)).fetchone() for number in numbers)
    return [bool(row[0]) for row in rows if row]
