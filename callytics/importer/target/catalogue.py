"""The PostgreSQL side of an import: catalogue, ids, and the indexes and keys that are deferred during a load."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import psycopg2
import psycopg2.errors
import pyarrow as pa
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from callytics.exceptions import TargetError
from callytics.importer.convert.columns import ARROW_TYPES
from callytics.postgres.sql import Composed, Queries, quote

SQL = Queries(Path(__file__).with_name("catalogue.sql"))
COLUMNS = Path(__file__).with_name("columns.toml")
# How the definition of a primary key's index begins: no other unique index is deferred.
PRIMARY_KEY = "CREATE UNIQUE INDEX"
# Partitions are made for imported rows of these months; others go to the default partition, or one wrong clock would
# make thousands of them.
MONTHS = ("2000-01", "2099-12")
MOST_MONTHS = 240
# What a partition costs of the server's table of locks where one transaction has to do with all of them: it and its
# indexes, and those that they lead to. The first half of an undo took 12.5, all of it 23.6 (measured with 120 months in
# four tables); the server has more than it is sure to have.
LOCKS_A_PARTITION = 20


@cache
def declared_columns() -> dict[str, dict[str, str]]:
    """Return, by table, the columns that an import can write and their types, as `format_type` prints them.

    What `inspect` works with, which has no server to ask. `python -m scripts.columns` writes columns.toml again after a
    migration has changed a table; a test compares it with the catalogue of a migrated database.
    """
    return tomllib.loads(COLUMNS.read_text(encoding="utf-8"))


class Target:
    """The database that takes the import. Every method works in the caller's transaction unless it says otherwise."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def columns(self, table: str) -> dict[str, str]:
        """Return the columns that can be written and their types; a type outside the exact pairs is refused."""
        columns = dict(SQL.rows(self.connection, "columns", {"table": table}))
        for name, type_name in columns.items():
            if type_name not in ARROW_TYPES:
                raise TargetError(
                    f"column {table}.{name} has type {type_name}, which the importer does not write exactly"
                )
        return columns

    def is_empty(self, table: str) -> bool:
        """Tell whether a table has no rows."""
        return bool(SQL.value(self.connection, "is_empty", table=sql.Identifier(table)))

    def highest_id(self, table: str) -> int:
        """Return the highest id that a table holds or has given out, 0 for none."""
        return int(SQL.value(self.connection, "highest_id", {"table": table}, table=sql.Identifier(table)))

    def ids_taken(self, table: str, first: int, last: int) -> bool:
        """Tell whether some row has an id from `first` to `last`."""
        ends = {"first": first, "last": last}
        return bool(SQL.value(self.connection, "ids_taken", ends, table=sql.Identifier(table)))

    def lost_ids(self, table: str) -> list[tuple[int, int]]:
        """Return ranges of ids that a table lacks, and by which rows refer to one that did not come with them.

        Whoever got such an id would become the parent of a stranger's row. What waits for the other file of its
        installation is not among them.
        """
        found = []
        for one in SQL.all(self.connection, "open_references", {"table": table}):
            parts = {"child": one["child"], "column": one["referring"], "key": one["key"], "table": table}
            values = {"child": one["whole_child"], "table": table}
            [(first, last)] = SQL.rows(self.connection, "lost_ids", values, **parts)
            found += [(first, last)] if first is not None else []
        return found

    def drop_untouched_topic(self) -> None:
        """Make room for an import's own topic 1."""
        SQL.run(self.connection, "drop_untouched_topic")

    def restore_topic(self) -> None:
        """Put topic 1 back if the import did not bring one."""
        SQL.run(self.connection, "restore_topic")

    def missing_months(self, table: str, months: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return which of these months (`2024-05`) a partitioned table is to get partitions for, and which not.

        The latest are made, as many as the server can lock at once. Rows of the others go to the default partition.
        """
        plausible = sorted(month for month in set(months) if MONTHS[0] <= month <= MONTHS[1])[-MOST_MONTHS:]
        values = {"table": table, "months": plausible, "locks": LOCKS_A_PARTITION}
        ((missing, room),) = SQL.rows(self.connection, "missing_months", values)
        made = missing[-room:] if room else []
        return made, missing[: len(missing) - len(made)]

    def data_directory(self) -> Path | None:
        """Return the folder of the server's data, on its machine; None where this role may not know it."""
        found = SQL.rows(self.connection, "data_directory")
        return Path(found[0][0]) if found else None

    def make_month(self, table: str, month: str) -> None:
        """Make the partition for rows of a month of a partitioned table; nothing where it exists."""
        SQL.run(self.connection, "make_month", {"table": table, "first_day": f"{month}-01"})

    def is_partitioned(self, table: str) -> bool:
        """Tell whether a table is divided into monthly partitions."""
        return bool(SQL.value(self.connection, "is_partitioned", {"table": table}))

    def set_sequence(self, table: str, highest: int) -> None:
        """Let the next id be larger than `highest` and than every id there is."""
        highest = max(highest, self.highest_id(table))
        if highest:
            SQL.run(self.connection, "set_sequence", {"table": table, "highest": highest})

    def definitions(self, tables: Iterable[str]) -> list[tuple[str, str, str, str]]:
        """Return (kind, table, name, definition) of what is deferred: foreign keys, and indexes of empty tables.

        An index that is built at once from all rows takes a fraction of what it takes row by row; a foreign key
        would be checked for each row, and tables could only be loaded one after the other."""
        found: list[tuple[str, str, str, str]] = []
        for table in tables:
            for leaf in self.leaves(table):
                found += [("foreign key", leaf, *row) for row in self._of("foreign_keys", leaf)]
            if self.is_empty(table):
                found += [("index", table, *row) for row in self._of("indexes", table)]
        return found

    def primary_keys(self, tables: Iterable[str]) -> list[tuple[str, str, str, str]]:
        """Return, like `definitions`, the primary keys of empty tables that nothing depends on (any more).

        A key costs three times as much row by row as when it is built at once.
        """
        return [
            ("index", leaf, *row)
            for table in tables
            if self.is_empty(table)
            for leaf in self.leaves(table)
            for row in self._of("primary_key", leaf)
        ]

    def leaves(self, table: str) -> list[str]:
        """Return the partitions of a table, by their names as SQL reads them; the table itself where it has none."""
        return [leaf for (leaf,) in self._of("leaves", table)] or [table]

    def defer(self, kind: str, table: str, name: str) -> None:
        """Drop an index or a foreign key; its definition must be recorded in the same transaction."""
        # The index of a primary key can be dropped only along with the key.
        if kind == "index" and name not in self._constraints(table):
            SQL.run(self.connection, "drop_index", index=sql.Identifier(name))
        else:
            SQL.run(self.connection, "drop_constraint", table=sql.SQL(table), constraint=sql.Identifier(name))

    def _constraints(self, table: str) -> list[str]:
        return [name for (name,) in self._of("constraints", table)]

    def restore_index(self, table: str, name: str, definition: str) -> None:
        """Build an index again, that of a primary key with its key; nothing where it exists."""
        if SQL.value(self.connection, "index_exists", {"index": f"public.{quote(name)}"}):
            return
        try:
            self._execute(definition)
        except psycopg2.errors.UniqueViolation as error:
            raise TargetError(
                f"while the import ran, somebody wrote rows to {table} with ids of the import's own: remove them, "
                "and run the same command again to go on from there"
            ) from error
        if definition.startswith(PRIMARY_KEY):
            # Takes over the index that was just built. The column is NOT NULL already, so that no row is read.
            SQL.run(self.connection, "add_primary_key", table=sql.SQL(table), index=sql.Identifier(name))

    def restore_share(self, leaf: str, definition: str) -> None:
        """Build a partition's share of an index before the parent's, which then takes it; nothing where it exists."""
        _, method = definition.split(" USING ", 1)
        if not SQL.value(self.connection, "has_index", {"table": leaf, "kind": method}):
            SQL.run(self.connection, "create_share", table=sql.SQL(leaf), method=sql.SQL(method))

    def restore_foreign_key(self, table: str, name: str, definition: str) -> int:
        """Declare a foreign key again and validate it; returns the orphans, for which it stays NOT VALID (0: valid).

        Commits before it validates, so that a crash leaves the key declared.
        """
        self.declare_foreign_key(table, name, definition)
        self.connection.commit()
        return self.validate_foreign_key(table, name, definition)

    def declare_foreign_key(self, table: str, name: str, definition: str) -> None:
        """Declare a foreign key again, for rows to come; nothing where it exists."""
        if name not in self._constraints(table):
            parts = {"table": sql.SQL(table), "constraint": sql.Identifier(name), "definition": sql.SQL(definition)}
            SQL.run(self.connection, "declare_foreign_key", **parts)

    def validate_foreign_key(self, table: str, name: str, definition: str) -> int:
        """Validate a declared foreign key; returns the orphans, for which it stays NOT VALID (0: valid).

        Rolls back where there are any.
        """
        try:
            SQL.run(self.connection, "validate_foreign_key", table=sql.SQL(table), constraint=sql.Identifier(name))
        except psycopg2.errors.ForeignKeyViolation:
            self.connection.rollback()
            return self._orphans(table, definition)
        return 0

    def _orphans(self, table: str, definition: str) -> int:
        match = re.match(r"FOREIGN KEY \((\S+)\) REFERENCES (\S+)\((\S+)\)", definition)
        if not match:
            raise TargetError(f"foreign key of {table} has more than one column: {definition}")
        column, parent, key = match.groups()
        # As the catalogue wrote them, quoted where they must be.
        parts = {"child": table, "column": column, "parent": parent, "key": key}
        return int(SQL.value(self.connection, "orphans", None, **{part: sql.SQL(name) for part, name in parts.items()}))

    def analyze(self, table: str) -> None:
        """Refresh the planner's statistics of a table and its partitions."""
        SQL.run(self.connection, "analyze", table=sql.Identifier(table))

    def busy(self, pids: Sequence[int]) -> dict[int, tuple[str, int, int]]:
        """Return, by session, how far the server is with an index or with statistics: phase, done, total.

        The unit is blocks or rows, whichever the phase counts.
        """
        return {
            pid: (phase, tuples, all_tuples) if all_tuples else (phase, blocks, all_blocks)
            for pid, phase, blocks, all_blocks, tuples, all_tuples in SQL.rows(
                self.connection, "busy", {"pids": list(pids)}
            )
        }

    def _of(self, query: str, table: str) -> list[tuple[Any, ...]]:
        return SQL.rows(self.connection, query, {"table": table})

    def _execute(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)


def read_back(
    connection: Connection,
    arrow: adbc_driver_postgresql.dbapi.Connection,
    table: str,
    key: str,
    columns: Iterable[str],
    which: Composed,
) -> pa.Table:
    """Return a table's rows with some keys (``key_range``, ``key_list``), in key order, read over ``arrow``.

    ``connection`` only quotes: ADBC takes neither compositions nor, for a COPY, parameters.
    """
    parts = {"table": sql.Identifier(table), "key": sql.Identifier(key)}
    query = SQL.text("rows_of", connection, columns=list(columns), which=which, **parts)
    with arrow.cursor() as cursor:
        cursor.execute(str(query))
        return cursor.fetch_arrow_table()


def key_range(key: str, first: int, last: int) -> Composed:
    """Return the condition of ``read_back`` for keys from the first to the last."""
    return Composed(f"{quote(key)} between {first:d} and {last:d}")


def key_list(key: str, keys: Iterable[int]) -> Composed:
    """Return the condition of ``read_back`` for these keys."""
    return Composed(f"{quote(key)} = any('{{{','.join(f'{one:d}' for one in keys)}}}'::bigint[])")
