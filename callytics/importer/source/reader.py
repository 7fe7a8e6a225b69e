"""The snapshot as the importer reads it: tables, row numbers, chunks, and rows, clean or value by value."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_sqlite.dbapi
import pyarrow as pa

from callytics.exceptions import SourceError
from callytics.importer.convert.values import Text
from callytics.importer.options import Limits
from callytics.importer.source.integrity import distrust, with_stand_ins
from callytics.importer.source.mapping import SourceTable, TableMapping, bind, unmapped_columns
from callytics.importer.source.tables import source_tables
from callytics.importer.source.trouble import reading, reading_arrow
from callytics.postgres.session import closing_on_error
from callytics.postgres.sql import folded, sqlite_name
from callytics.postgres.text import named
from callytics.schema.catalogue.catalogue import required_columns

SMALLEST_ROWID, LARGEST_ROWID = -(2**63), 2**63 - 1
# The first and the last row number of a range of rows.
RowRange = tuple[int, int]
EVERYTHING: RowRange = (SMALLEST_ROWID, LARGEST_ROWID)
DAY = re.compile(rb"[0-9]{4}-(0[1-9]|1[0-2])-[0-9]{2}")
# Fewer than the 2,000 that SQLite allows a result (https://sqlite.org/limits.html#max_column).
RESULT_COLUMNS = 1_000
# By which a table's rows are judged to be wider than those of the file.
SAMPLED_ROWS = 100
# Tables that a message names.
MOST_NAMED = 5
# For each type, the SQLite condition under which a column's value can take the fast path.
CLEAN = {
    "bigint": "typeof({0}) in ('integer', 'null')",
    # A column that was declared INTEGER elsewhere: up to 2^53 a double is the same number.
    "double precision": "(typeof({0}) in ('real', 'null') or "
    "typeof({0}) = 'integer' and {0} collate binary between -9007199254740992 and 9007199254740992)",
    "text": "typeof({0}) in ('text', 'null')",
    "boolean": "({0} is null or (typeof({0}) = 'integer' and {0} collate binary in (0, 1)))",
    "timestamp with time zone": "typeof({0}) in ('text', 'null')",
    "date": "typeof({0}) in ('text', 'null')",
    "jsonb": "typeof({0}) in ('text', 'null')",
}

# A constant of the right storage class for each type ('' otherwise): the ADBC reader takes a column's type from it.
FIRST_ROW = {"bigint": "0", "double precision": "0.0", "boolean": "0"}


class Source:
    """A snapshot, opened read-only.

    Rows come as dictionaries with TEXT as `Text`, so that it stays apart from a BLOB and may be anything.
    """

    def __init__(self, path: Path, label: str | None = None, limits: Limits | None = None) -> None:
        self.path, self.limits = path, limits or Limits()
        self.label = label or str(path)
        # The snapshot is ours alone: immutable spares locks, and no -wal or -shm appears beside it.
        self.uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"

    @cached_property
    def tables(self) -> tuple[SourceTable, ...]:
        """The user's tables. Virtual tables are left out: their content is in their shadow tables.

        Raises `SourceError` where SQLite can't tell what a table is.
        """
        try:
            with closing(sqlite3.connect(self.uri, uri=True)) as connection:
                return tuple(SourceTable(**vars(found)) for found in source_tables(connection))
        # Python's module fails so on a message of SQLite's that quotes what is not UTF-8.
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise SourceError(
                f"{self.label} cannot be read ({error}): export its tables with the application that wrote it"
            ) from error

    @cached_property
    def unreadable(self) -> tuple[str, ...]:
        """What is left out of the tables, each with its cause: columns that only the application can compute."""
        return tuple(note for table in self.tables for note in self._uncomputed(table))

    def _uncomputed(self, table: SourceTable) -> Iterator[str]:
        required = {
            (folded(mapped.mapping.outputs[column]), mapped.mapping.target)
            for mapped in self.table_mappings[table.name]
            for column in set(mapped.mapping.outputs) & required_columns(mapped.mapping.target)
        }
        for column, cause in table.uncomputed:
            without = [target for name, target in sorted(required) if name == folded(column)]
            then = f", and {' and '.join(without)} takes no row without it" if without else ""
            yield f"{named(table.name)}.{named(column)} can be computed by its application only: {cause}{then}"

    def refuse_empty(self) -> None:
        """Raise `SourceError` where the file holds no tables."""
        if not self.tables:
            raise SourceError(f"{self.label} holds no tables: is it the right file?")

    def refuse_foreign(self) -> None:
        """Raise `SourceError` where the file holds no tables, or none that a mapping knows: it is another program's."""
        self.refuse_empty()
        if not self.mapping_names:
            names = [named(table.name) for table in self.tables]
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            raise SourceError(
                f"{self.label} holds no table of Callytics, but {', '.join(names[:MOST_NAMED])}{more}: is it the right "
                "file? With --unmapped its rows are kept as they are"
            )

    @property
    def targets(self) -> set[str]:
        """The tables of the schema that the file's tables go to."""
        return {mapped.mapping.target for found in self.table_mappings.values() for mapped in found}

    @property
    def mapping_names(self) -> set[str]:
        """The names of all mappings that apply to tables of the file."""
        return {mapped.mapping.name for found in self.table_mappings.values() for mapped in found}

    @cached_property
    def table_mappings(self) -> dict[str, list[TableMapping]]:
        """The mappings of each table, by its name; an empty list where it has none."""
        return {table.name: bind(table) for table in self.tables}

    def unmapped_columns(self, table: SourceTable) -> tuple[str, ...]:
        """Return the columns that nothing maps: all of an unknown table's."""
        return unmapped_columns(table, self.table_mappings[table.name])

    def connect(self) -> sqlite3.Connection:
        """Open a connection that sees the numbered copies and returns TEXT as `Text`."""
        with closing_on_error(self.connect_plain()) as connection:
            for table in self.tables:
                _prepare(connection, table)
        return connection

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection as `connect` opens it; `SnapshotUnreadable` for what SQLite says in the block."""
        with reading(self.path), closing(self.connect()) as connection:
            yield connection

    @cached_property
    def encoding(self) -> str:
        """The encoding of the file's texts: UTF-8, UTF-16le or UTF-16be."""
        with closing(sqlite3.connect(self.uri, uri=True)) as connection:
            return str(connection.execute("pragma encoding").fetchone()[0])

    def connect_plain(self) -> sqlite3.Connection:
        """Open a connection that sees what the file holds alone and returns TEXT as `Text`."""
        with closing_on_error(sqlite3.connect(self.uri, uri=True, check_same_thread=False)) as connection:
            distrust(connection)
            connection.text_factory = Text
        return connection

    def connect_arrow(self) -> adbc_driver_sqlite.dbapi.Connection:
        """Open an ADBC connection that sees the numbered copies of the tables that are read by it."""
        with closing_on_error(adbc_driver_sqlite.dbapi.connect(self.uri)) as connection, connection.cursor() as cursor:
            cursor.execute("pragma trusted_schema = off")
            for table in self.tables:
                # Tables that nothing maps never come this way.
                if self.table_mappings[table.name] and self.takes_fast_path(table):
                    for statement in table.preparation:
                        cursor.execute(statement)
        return connection

    def takes_fast_path(self, table: SourceTable) -> bool:
        """Tell whether ADBC can read a table: with it there is no stand-in for a collation that is missing here."""
        return table.name not in self._slow_tables

    @cached_property
    def _slow_tables(self) -> frozenset[str]:
        """The tables whose numbered copies need a stand-in, or that ADBC's own SQLite does not read for want of one."""
        with closing(self.connect_plain()) as connection, closing(adbc_driver_sqlite.dbapi.connect(self.uri)) as arrow:
            return frozenset(
                table.name for table in self.tables if _prepare(connection, table) or not _can_prepare(arrow, table)
            )

    def count(self, table: SourceTable) -> int:
        """Return the number of rows."""
        with self.opened() as connection:
            return int(connection.execute(f"select count(*) from {table.relation}").fetchone()[0])

    @cached_property
    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table.name: self.count(table) for table in self.tables}

    def chunk_rows(self, table: SourceTable) -> int:
        """Return the rows a chunk, so that one holds about `limits.chunk_bytes` of the table, or of the file."""
        return max(1, min(self.limits.chunk_rows, int(self.limits.chunk_bytes / self._row_bytes[table.name])))

    @cached_property
    def _row_bytes(self) -> dict[str, float]:
        """Bytes of a row by table: on the average of the file, or of the table's first rows where these are wider."""
        average = max(1.0, self.path.stat().st_size / max(1, sum(self.counts.values())))
        large = [table for table in self.tables if self.counts[table.name] > SAMPLED_ROWS]
        with self.opened() as connection:
            sampled = {table.name: _sampled_bytes(connection, table) for table in large}
        return {table.name: max(average, sampled.get(table.name, 0)) for table in self.tables}

    def pieces(self, table: SourceTable) -> list[RowRange]:
        """Return ranges of row numbers that can be read side by side: one where each reader would copy the table."""
        if self.counts[table.name] <= self.limits.piece_rows or any(one.preparation for one in self.tables):
            return [EVERYTHING]
        with self.opened() as connection:
            ends = [last for _, last in rowid_chunks(connection, table, self.limits.piece_rows)]
        starts = [SMALLEST_ROWID, *(end + 1 for end in ends[:-1])]
        return list(zip(starts, [*ends[:-1], LARGEST_ROWID], strict=True))

    def sequence(self, table: SourceTable) -> int:
        """Return the highest id that the table has ever given (0: none): the next one is larger.

        Source: https://sqlite.org/autoinc.html, for tables with AUTOINCREMENT; others count from the largest row.
        """
        with self.opened() as connection:
            highest = [0]
            if table.id_column:
                highest += connection.execute(
                    f"select max({sqlite_name(table.id_column)}) from {table.relation}"
                ).fetchone()
            if connection.execute("select 1 from sqlite_master where name = 'sqlite_sequence'").fetchone():
                # It is a table like any other, so that nothing keeps text out of it.
                query = "select max(seq) from sqlite_sequence where name = ? and typeof(seq) = 'integer'"
                highest += connection.execute(query, (table.name,)).fetchone()
        return max(value for value in highest if isinstance(value, int))

    def id_range(self, table_mapping: TableMapping) -> tuple[int, int] | None:
        """Return the smallest and largest integer of the mapping's key column; None where there is none."""
        if self.key_is_rowid(table_mapping):
            with self.opened() as connection:
                ends = [
                    connection.execute(
                        f"select {end}({table_mapping.table.rowid}) from {table_mapping.table.relation}"
                    ).fetchone()[0]
                    for end in ("min", "max")
                ]
            return None if ends[0] is None else (ends[0], ends[1])
        return self.range_of(table_mapping, table_mapping.mapping.key)

    def absent_ids(self, table_mapping: TableMapping, ids: Iterable[int]) -> set[int]:
        """Return which of these ids are not in the mapping's key column of any row."""
        if self.key_is_rowid(table_mapping):
            table, relation = table_mapping.table, ""
            there = f"exists (select 1 from {table.relation} where {table.rowid} = wanted.id)"
        else:
            relation, key = table_mapping.relation("true"), sqlite_name(table_mapping.mapping.key)
            there = f"wanted.id in (select cast({key} as integer) from mapped where {key} is not null)"
        with self.opened() as connection:
            connection.execute("create temp table wanted (id integer primary key)")
            connection.executemany("insert into temp.wanted values (?)", ((number,) for number in ids))
            found = connection.execute(f"{relation} select id from temp.wanted where not {there}")
            return {number for (number,) in found}

    def range_of(self, table_mapping: TableMapping, column: str) -> tuple[int, int] | None:
        """Return the smallest and largest whole number in all rows of a mapped column; None where there is none."""
        column = f"mapped.{sqlite_name(column)}"
        # A real 5.0 becomes the id 5, too.
        query = (
            f"{table_mapping.relation('true')} select min(cast({column} as integer)), max(cast({column} as integer)) "
            f"from mapped where typeof({column}) = 'integer' or typeof({column}) = 'real' "
            f"and {column} = cast({column} as integer) and {column} < {LARGEST_ROWID}"
        )
        with self.opened() as connection:
            smallest, largest = connection.execute(query).fetchone()
        return None if smallest is None else (smallest, largest)

    def key_is_rowid(self, table_mapping: TableMapping) -> bool:
        """Tell whether the mapping's key is the table's INTEGER PRIMARY KEY, so that it is unique and in order."""
        column = table_mapping.mapping.outputs[table_mapping.mapping.key]
        return table_mapping.table.id_column is not None and folded(column) == folded(table_mapping.table.id_column)

    def months(self, table_mapping: TableMapping) -> list[str]:
        """Return the months (`2024-05`) in which the mapped rows were created, as far as plain timestamps tell."""
        return sorted({day[:7] for day in self.days(table_mapping)})

    def days(self, table_mapping: TableMapping) -> list[str]:
        """Return the days (`2024-05-01`) that the mapped rows say they were created on, as far as text tells."""
        if "created_at" not in table_mapping.mapping.outputs:
            return []
        query = (
            f"{table_mapping.relation('true')} select distinct substr(created_at, 1, 10) from mapped "
            "where typeof(created_at) = 'text'"
        )
        with self.opened() as connection:
            beginnings = {bytes(beginning) for (beginning,) in connection.execute(query)}
        return sorted(beginning.decode() for beginning in beginnings if DAY.fullmatch(beginning))

    def duplicate_ids(self, table_mapping: TableMapping) -> frozenset[int]:
        """Return the row numbers whose id an earlier row has already; only a table without a key can have them."""
        if self.key_is_rowid(table_mapping):
            return frozenset()
        key = sqlite_name(table_mapping.mapping.key)
        query = (
            f"{table_mapping.relation('true')} select source_rowid from mapped where {key} is not null "
            f"and source_rowid not in (select min(source_rowid) from mapped group by {key} collate binary)"
        )
        with self.opened() as connection:
            return frozenset(rowid for (rowid,) in connection.execute(query))


def _sampled_bytes(connection: sqlite3.Connection, table: SourceTable) -> float:
    names = ", ".join(map(sqlite_name, table.columns[:RESULT_COLUMNS])) or "null"
    rows = connection.execute(f"select {names} from {table.relation} order by {table.rowid} limit {SAMPLED_ROWS}")
    # In memory: Arrow keeps where each text begins, and 8 bytes of a number.
    return sum(8 + (len(value) if isinstance(value, bytes) else 0) for row in rows for value in row) / SAMPLED_ROWS


def _prepare(connection: sqlite3.Connection, table: SourceTable) -> set[str]:
    """Let a connection know a table; returns what it lacks for that and has stand-ins for now."""
    needed: set[str] = set()
    for statement in table.preparation:
        with_stand_ins(connection, partial(connection.execute, statement), needed)
    return needed


def _can_prepare(connection: adbc_driver_sqlite.dbapi.Connection, table: SourceTable) -> bool:
    # Its SQLite is newer, and of a table without row numbers it looks every column's collation up.
    try:
        with connection.cursor() as cursor:
            for statement in ("pragma trusted_schema = off", *table.preparation):
                cursor.execute(statement)
    except adbc_driver_manager.Error:
        return False
    return True


def rowid_chunks(
    connection: sqlite3.Connection,
    table: SourceTable,
    size: int,
    within: RowRange = EVERYTHING,
) -> Iterator[RowRange]:
    """Yield (first, last) row numbers of consecutive chunks of `size` rows, of those numbered `within` two ends."""
    start, end = within
    while chunk := next_chunk(connection, table, size, (start, end)):
        yield chunk
        start = chunk[1] + 1


def next_chunk(connection: sqlite3.Connection, table: SourceTable, size: int, within: RowRange) -> RowRange | None:
    """Return the first and last row number of the first `size` rows numbered `within` two ends; None without rows."""
    start, end = within
    if start > end:
        return None
    query = (
        # By a number of rows rather than of row numbers, in which there may be gaps of any size.
        f"select min(number), max(number) from (select {table.rowid} as number from {table.relation} "
        f"where {table.rowid} between ? and ? order by {table.rowid} limit ?)"
    )
    first, last = connection.execute(query, (start, end, size)).fetchone()
    return None if first is None else (first, last)


def count_rows(connection: sqlite3.Connection, table: SourceTable, chunk: tuple[int, int]) -> int:
    """Return how many rows a chunk has."""
    query = f"select count(*) from {table.relation} where {table.between(chunk)}"
    return int(connection.execute(query).fetchone()[0])


def row_numbers(connection: sqlite3.Connection, table: SourceTable, chunk: tuple[int, int]) -> list[int]:
    """Return the row numbers of a chunk."""
    query = f"select {table.rowid} from {table.relation} where {table.between(chunk)}"
    return [number for (number,) in connection.execute(query)]


def clean_condition(types: dict[str, str]) -> str:
    """Return the SQLite condition under which a mapped row takes the fast path; `types` are the outputs' types."""
    return " and ".join(CLEAN[target].format(sqlite_name(output)) for output, target in types.items())


def read_clean(
    connection: adbc_driver_sqlite.dbapi.Connection,
    path: Path,
    table_mapping: TableMapping,
    types: dict[str, str],
    chunk: tuple[int, int],
) -> pa.Table:
    """Return the rows of a chunk in which every value has its column's storage class, with `source_rowid` first.

    The ADBC reader takes a column's type from its first row, so that a row of constants comes first and is dropped.
    """
    constants = ", ".join(FIRST_ROW.get(target, "''") for target in types.values())
    outputs = ", ".join(sqlite_name(output) for output in types)
    query = (
        f"{table_mapping.relation(table_mapping.table.between(chunk))}"
        f"select 0 as source_rowid, {constants} union all "
        f"select source_rowid, {outputs} from mapped where {clean_condition(types)}"
    )
    with reading_arrow(path), connection.cursor() as cursor:
        # All rows in one batch, since the reader takes the types from the first one; and one more for the constants.
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(Limits.chunk_rows + 1)})
        cursor.execute(query)
        table = cursor.fetch_arrow_table().slice(1)
    return table.rename_columns(["source_rowid", *types])


def no_rows(types: dict[str, str]) -> pa.Table:
    """Return what `read_clean` does of a chunk without such rows."""
    numbers = {"bigint": pa.int64(), "double precision": pa.float64(), "boolean": pa.int64()}
    fields = [("source_rowid", pa.int64()), *((name, numbers.get(kind, pa.string())) for name, kind in types.items())]
    return pa.schema(fields).empty_table()


def read_dirty(
    connection: sqlite3.Connection,
    table_mapping: TableMapping,
    types: dict[str, str],
    chunk: tuple[int, int],
    besides: Sequence[int],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number, values by output) of the other rows of a chunk, and of those numbered in `besides`."""
    outputs = ", ".join(sqlite_name(output) for output in types)
    query = (
        f"{table_mapping.relation(table_mapping.table.between(chunk))}"
        f"select source_rowid, {outputs} from mapped where not ({clean_condition(types)}) "
        # Written out: SQLite allows only so many parameters, and a table of the file may be called json_each.
        f"or source_rowid in ({', '.join(map(str, besides))}) order by source_rowid"
    )
    for rowid, *values in connection.execute(query):
        yield rowid, dict(zip(types, values, strict=True))


def read_rows(
    connection: sqlite3.Connection, table: SourceTable, columns: Sequence[str], chunk: tuple[int, int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number, values by column) of a chunk as SQLite holds them."""
    # In several queries where a result can't have them all: the row number is one more than a table has.
    parts = [columns[start : start + RESULT_COLUMNS] for start in range(0, len(columns), RESULT_COLUMNS)]
    readings = [
        connection.execute(
            f"select {table.rowid}, {', '.join(map(sqlite_name, part))} from {table.relation} "
            f"where {table.between(chunk)} order by {table.rowid}"
        )
        for part in parts
    ]
    for rows in zip(*readings, strict=True):
        yield rows[0][0], dict(zip(columns, (value for _, *values in rows for value in values), strict=True))
