"""Rows whose unique key another row has: equal ones are shared by both imports, others are rejected and both named.

Every installation comes with the same codes. So a second one's are no rows to be loaded, and none to be rejected: its
import notes which row is there in their place. Its own id and its own time of creation are of no account, since nothing
refers to a code by its id; they stay on record, and become the row's if the import that brought it is undone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values

from callytics.importer.convert.rows import OWN_TIMES, ConvertedRow, RefusedRow, SharedRow
from callytics.importer.target.writing.refusals import Refusal
from callytics.importer.target.writing.text import literal
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_name("shared.sql"))
ROWS_AT_ONCE = 1000

# A converted row that PostgreSQL did not take, and why.
RefusedRows = Sequence[tuple[ConvertedRow, Refusal]]


class Holder(NamedTuple):
    """The row that has the unique key of a row: the columns in which they differ, and the latter as JSON."""

    key: int
    differing: list[str]
    own: str


class Table(Protocol):
    """What has to be known of how a source table becomes rows of the target; a ``Conversion`` does."""

    @property
    def target(self) -> str:
        """Return the target table."""

    @property
    def key(self) -> str:
        """Return its key column."""

    @property
    def columns(self) -> dict[str, str]:
        """Return its columns with their types."""

    @property
    def same_by(self) -> tuple[str, ...]:
        """Return the columns by which a row is known to be there already."""

    @property
    def compared_columns(self) -> list[str]:
        """Return the columns in which it must equal that one."""

    @property
    def uncomputed(self) -> dict[str, str]:
        """Return the columns whose values only the application can compute, each with why."""


def refused_rows(
    connection: Connection, table: Table, refused: RefusedRows, source: Callable[[int], dict[str, Any]]
) -> list[RefusedRow]:
    """Return rows that PostgreSQL did not take as they go on record; ``source`` returns a row as SQLite holds it.

    Looks at PostgreSQL as it is in the connection's transaction.
    """
    by_constraint: dict[tuple[str, ...] | None, list[tuple[ConvertedRow, Refusal]]] = defaultdict(list)
    for row, refusal in refused:
        by_constraint[refusal.unique].append((row, refusal))
    found: list[RefusedRow] = []
    for constraint, rows in by_constraint.items():
        columns = _unique_columns(connection, constraint) if constraint else ()
        holders = _holders(connection, table, columns, [row for row, _ in rows]) if columns else {}
        for row, refusal in rows:
            values = source(row.rowid)
            holder = holders.get(row.rowid)
            found.append(
                _held(row.rowid, values, holder, columns, table)
                if holder
                else RefusedRow(row.rowid, None, _because(refusal, table), values)
            )
    return found


def _because(refusal: Refusal, table: Table) -> str:
    cause = table.uncomputed.get(refusal.lacking or "")
    return f"{refusal.reason} ({cause})" if cause else refusal.reason


def _held(rowid: int, values: dict[str, Any], holder: Holder, columns: tuple[str, ...], table: Table) -> RefusedRow:
    alike = columns == table.same_by
    shared = SharedRow(holder.key, holder.own) if alike and not holder.differing else None
    return RefusedRow(rowid, None, taken(columns, ", ".join(holder.differing)), values, holder.key, shared)


def taken(columns: Sequence[str], differing: str) -> str:
    """Return the reason for which a row is rejected whose unique key another row has."""
    return f"another row has the same {', '.join(columns)}" + (f", and another {differing}" if differing else "")


def _unique_columns(connection: Connection, constraint: tuple[str, ...]) -> tuple[str, ...]:
    schema, relation, name = constraint
    parameters = {"schema": schema, "table": relation, "name": name}
    return tuple(column for (column,) in SQL.rows(connection, "unique_columns", parameters))


def held_rows(connection: Connection, table: Table, rows: Sequence[ConvertedRow]) -> dict[int, Holder]:
    """Return, by row number, the row that is there for each of these, of a table that installations have alike."""
    return _holders(connection, table, table.same_by, rows)


def _holders(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[ConvertedRow]
) -> dict[int, Holder]:
    alike = columns == table.same_by
    wanted = [table.key, *table.compared_columns, *_own_times(table)] if alike else list(columns)
    query = SQL.text(
        "rows_there",
        connection,
        target=table.target,
        key=table.key,
        columns=wanted,
        same=_equal(columns),
        own=sql.Literal(["sync_n", *_own(table)]),
    )
    template = f"(%s::bigint, {', '.join(f'%s::{table.columns[name]}' for name in wanted)})"
    values = [
        [row.rowid, *(literal(row.values[name], table.columns[name]) for name in wanted)]
        for row in rows
        if all(row.values[name] is not None for name in columns)
    ]
    with connection.cursor() as cursor:
        found = execute_values(cursor, query, values, template, ROWS_AT_ONCE, fetch=True) if values else []
    return {rowid: Holder(*rest) for rowid, *rest in found}


def _own_times(table: Table) -> list[str]:
    return [name for name in OWN_TIMES if name in table.columns]


def _own(table: Table) -> list[str]:
    return [table.key, *OWN_TIMES]


def _equal(columns: Sequence[str]) -> sql.Composable:
    pairs = (sql.SQL("t.{0} = v.{0}").format(sql.Identifier(name)) for name in columns)
    return sql.SQL(" and ").join(pairs)
