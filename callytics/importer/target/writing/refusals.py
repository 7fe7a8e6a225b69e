"""Rows that PostgreSQL does not take: what it says of them, and how they are found among the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg2
import psycopg2.errors
from psycopg2.extensions import cursor as Cursor

# What PostgreSQL says of a row it cannot hold; anything else is not the row's fault.
REFUSALS = (
    psycopg2.IntegrityError,
    psycopg2.DataError,
    psycopg2.errors.ProgramLimitExceeded,
    psycopg2.errors.StatementTooComplex,
)
# The same, as SQLSTATE classes (https://www.postgresql.org/docs/15/errcodes-appendix.html).
REFUSAL_CLASSES = ("22", "23", "54")


@dataclass(frozen=True)
class Refusal:
    """Why PostgreSQL refused a row.

    `unique` is (schema, table, name) of the key that another row has already, `lacking` the column that has no value.
    """

    reason: str
    unique: tuple[str, ...] | None = None
    lacking: str | None = None


def refused_of(
    cursor: Cursor, write: Callable[[int, int], None], first: int, last: int
) -> Iterator[tuple[int, Refusal]]:
    """Write the rows numbered `first` to `last`, and yield those that PostgreSQL refuses, with the reason.

    They are written together, and by halves where one is refused, until it stands alone: one bad row costs a few
    statements more, where row by row each good one would cost its own. Every other row is written when the iterator is
    exhausted. What `write` raises besides `REFUSALS` passes through.
    """
    if last < first:
        return
    cursor.execute("savepoint rows")
    try:
        write(first, last)
    except REFUSALS as error:
        # Released too: the halves use the same name, and thousands of open savepoints would slow the server down.
        cursor.execute("rollback to savepoint rows; release savepoint rows")
        if first == last:
            yield first, refusal(error)
            return
        middle = (first + last) // 2
        yield from refused_of(cursor, write, first, middle)
        yield from refused_of(cursor, write, middle + 1, last)
    else:
        cursor.execute("release savepoint rows")


def refusal(error: psycopg2.Error) -> Refusal:
    """Say why PostgreSQL refused a row, without the row: the detail would hold somebody's words."""
    # The primary message names constraint and type; only DETAIL quotes the row.
    told = error.diag
    reason = (told.message_primary or type(error).__name__).strip()
    names = (told.schema_name, told.table_name, told.constraint_name)
    if isinstance(error, psycopg2.errors.UniqueViolation) and all(names):
        return Refusal(reason, tuple(name or "" for name in names))
    return Refusal(reason, lacking=told.column_name if isinstance(error, psycopg2.errors.NotNullViolation) else None)
