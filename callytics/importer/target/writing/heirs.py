"""What becomes of a shared row when the import that brought it gives it up, or makes another row of it.

A row that goes stays for the imports that share it: it becomes the first one's own. A row that changes is no longer
what the others have: theirs are rejected from then on, with the row that stands in their way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from callytics.importer.convert.rows import OWN_TIMES
from callytics.importer.target.comparing.found import Found, MappedPair
from callytics.importer.target.shared import SQL, taken
from callytics.importer.target.writing.stage import Overtaken, Stage
from callytics.postgres.text import counted, quoted


def hand_over(connection: Connection, stages: Iterable[Stage], found: Sequence[Found]) -> list[str]:
    """Leave rows that are to be deleted to the imports that share them, and take them out of the figures.

    Each keeps its place and gets the id and the times that it has in the file of its new import, as if that had brought
    it. Before the rows that refer to deleted ones are looked for: those of a shared row keep their parent. Returns a
    line for each table and import; raises `Overtaken` where the rows were written to since they were compared.
    """
    lines: list[str] = []
    own = [one.pair.record.id for one in found]
    by_table = {one.pair.record.id: one for one in found}
    for stage in [stage for stage in stages if stage.keys]:
        heirs = [sql.Identifier("r", name) for name in stage.columns]
        parts = stage.parts | {"heir_columns": sql.SQL(", ").join(heirs)}
        try:
            handed = SQL.rows(connection, "hand_over", {"target": stage.target, "own": own}, **parts)
        except psycopg2.errors.SerializationFailure as error:
            raise Overtaken from error
        for table, run, rows in handed:
            by_table[table].deleted -= rows
            by_table[table].handed_over += rows
            lines.append(f"{stage.target}: {_rows(rows)} import {run} has as well, and keeps")
    return lines


def part(connection: Connection, found: Sequence[Found]) -> list[str]:
    """Reject the rows of other imports whose shared row has changed now; returns a line for each table and import."""
    return [line for pair in _alike(found) for line in _part(connection, pair, [one.pair.record.id for one in found])]


def _alike(found: Sequence[Found]) -> Iterator[MappedPair]:
    for one in found:
        if isinstance(one.pair, MappedPair) and one.pair.conversion.same_by:
            yield one.pair


def _part(connection: Connection, pair: MappedPair, own: Sequence[int]) -> Iterator[str]:
    conversion = pair.conversion
    reason = taken(conversion.same_by, "{}")
    parameters = {"target": conversion.target, "own": list(own), "reason": reason}
    parts = {
        "target": sql.Identifier(conversion.target),
        "key": sql.Identifier(conversion.key),
        "own": sql.Literal([conversion.key, *OWN_TIMES]),
    }
    for run, rows in SQL.rows(connection, "part", parameters, **parts):
        yield (
            f"{conversion.target}: {_rows(rows)} import {run} had as well changed here, so that import's are rejected: "
            f"see {quoted('callytics report --import', run)}"
        )


def _rows(rows: int) -> str:
    return f"{counted(rows, 'row')} that"
