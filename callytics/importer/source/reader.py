"""The snapshot as the importer reads it: tables, row numbers, chunks, and rows, clean or value by value."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import adbc_driver_sqlite.dbapi
import pyarrow as pa

from callytics.exceptions import SourceError
from callytics.importer.convert.values import Text
from callytics.importer.options import Limits
from callytics.importer.source.integrity import NEEDED, distrust, with_stand_ins
from callytics.importer.source.mapping import SourceTable, TableMapping, bind, sqlite_name, unmapped_columns
from callytics.postgres.sql import folded, literal

SMALLEST_ROWID, LARGEST_ROWID = -(2**63), 2**63 - 1
# The first and the last row number of a range of rows.
RowRange = tuple[int, int]
EVERYTHING: RowRange = (SMALLEST_ROWID, LARGEST_ROWID)
MONTH = re.compile(rb"[0-9]{4}-(0[1-9]|1[0-2])-")
# Fewer than the 2,000 that SQLite allows a result (https://sqlite.org/limits.html#max_column).
RESULT_COLUMNS = 1_000
ROWID_NAMES = ("rowid", "_rowid_", "oid")
# Tables that a message names.
MOST_NAMED = 5
NUMBER_COLUMN = "number of the row"
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
        self._uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"

    @cached_property
    def tables(self) -> tuple[SourceTable, ...]:
        """The user's tables. Virtual tables are left out: their content is in their shadow tables.

        Raises `SourceError` where SQLite can't tell what a table is.
        """
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
            try:
                rows = connection.execute(
                    # SQLite reserves the prefix for tables of its own, such as sqlite_sequence and sqlite_stat1. A
                    # virtual table has no page of its own, however its statement is written.
                    "select name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\' "
                    "and rootpage > 0 order by name"
                )
                return tuple(_describe(name, connection) for (name,) in rows.fetchall())
            except sqlite3.Error as error:
                raise SourceError(
                    f"{self.label} cannot be read ({error}): export its tables with the application that wrote it"
                ) from error

    @cached_property
    def unreadable(self) -> tuple[str, ...]:
        """What is left out of the tables, each with its cause: columns that only the application can compute."""
        return tuple(note for table in self.tables for note in table.unreadable)

    def refuse_empty(self) -> None:
        """Raise `SourceError` where the file holds no tables."""
        if not self.tables:
            raise SourceError(f"{self.label} holds no tables: is it the right file?")

    def refuse_foreign(self) -> None:
        """Raise `SourceError` where the file holds no tables, or none that a mapping knows: it is another program's."""
        self.refuse_empty()
        if not self.mapping_names:
            names = [table.name for table in self.tables]
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
        connection = self.connect_plain()
        for name, (create, fill) in self._numbered_copies.items():
            count = f"select count(*) from main.{sqlite_name(name)}"
            with_stand_ins(connection, partial(connection.execute, count), set())
            # Once a collation was missing, SQLite finds no way to read by the key until it has read the schema again.
            connection.execute("pragma writable_schema = reset")
            connection.execute(create)
            with_stand_ins(connection, partial(connection.execute, fill), set())
        return connection

    def connect_plain(self) -> sqlite3.Connection:
        """Open a connection that sees what the file holds alone and returns TEXT as `Text`."""
        connection = sqlite3.connect(self._uri, uri=True, check_same_thread=False)
        distrust(connection)
        connection.text_factory = Text
        return connection

    def connect_arrow(self) -> adbc_driver_sqlite.dbapi.Connection:
        """Open an ADBC connection that sees the numbered copies."""
        connection = adbc_driver_sqlite.dbapi.connect(self._uri)
        with connection.cursor() as cursor:
            cursor.execute("pragma trusted_schema = off")
            # Tables that nothing maps never come this way.
            for name, statements in self._numbered_copies.items():
                if self.table_mappings[name]:
                    for statement in statements:
                        cursor.execute(statement)
        return connection

    @cached_property
    def _numbered_copies(self) -> dict[str, tuple[str, str]]:
        return {table.name: _numbered_copy(table) for table in self.tables if table.relation.startswith("temp.")}

    def count(self, table: SourceTable) -> int:
        """Return the number of rows."""
        with closing(self.connect()) as connection:
            return int(connection.execute(f"select count(*) from {table.relation}").fetchone()[0])

    @cached_property
    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table.name: self.count(table) for table in self.tables}

    @cached_property
    def chunk_rows(self) -> int:
        """Rows a chunk, so that one holds about `limits.chunk_bytes` of this file."""
        row_bytes = self.path.stat().st_size / max(1, sum(self.counts.values()))
        return max(1, min(self.limits.chunk_rows, int(self.limits.chunk_bytes / max(1.0, row_bytes))))

    def pieces(self, table: SourceTable) -> list[RowRange]:
        """Return ranges of row numbers that can be read side by side: one where each reader would copy the table."""
        if self.counts[table.name] <= self.limits.piece_rows or self._numbered_copies:
            return [EVERYTHING]
        with closing(self.connect()) as connection:
            ends = [last for _, last in rowid_chunks(connection, table, self.limits.piece_rows)]
        starts = [SMALLEST_ROWID, *(end + 1 for end in ends[:-1])]
        return list(zip(starts, [*ends[:-1], LARGEST_ROWID], strict=True))

    def sequence(self, table: SourceTable) -> int:
        """Return the highest id that the table has ever given (0: none): the next one is larger.

        Source: https://sqlite.org/autoinc.html, for tables with AUTOINCREMENT; others count from the largest row.
        """
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
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
            with closing(self.connect()) as connection:
                ends = [
                    connection.execute(
                        f"select {end}({table_mapping.table.rowid}) from {table_mapping.table.relation}"
                    ).fetchone()[0]
                    for end in ("min", "max")
                ]
            return None if ends[0] is None else (ends[0], ends[1])
        return self.range_of(table_mapping, table_mapping.mapping.key)

    def range_of(self, table_mapping: TableMapping, column: str) -> tuple[int, int] | None:
        """Return the smallest and largest integer of a mapped column, read from every row; None where there is none."""
        column = f"mapped.{sqlite_name(column)}"
        query = (
            f"{table_mapping.relation('true')} select min({column}), max({column}) from mapped "
            f"where typeof({column}) = 'integer'"
        )
        with closing(self.connect()) as connection:
            smallest, largest = connection.execute(query).fetchone()
        return None if smallest is None else (smallest, largest)

    def key_is_rowid(self, table_mapping: TableMapping) -> bool:
        """Tell whether the mapping's key is the table's INTEGER PRIMARY KEY, so that it is unique and in order."""
        column = table_mapping.mapping.outputs[table_mapping.mapping.key]
        return table_mapping.table.id_column is not None and folded(column) == folded(table_mapping.table.id_column)

    def months(self, table_mapping: TableMapping) -> list[str]:
        """Return the months (`2024-05`) in which the mapped rows were created, as far as plain timestamps tell."""
        if "created_at" not in table_mapping.mapping.outputs:
            return []
        query = (
            f"{table_mapping.relation('true')} select distinct substr(created_at, 1, 8) from mapped "
            "where typeof(created_at) = 'text'"
        )
        with closing(self.connect()) as connection:
            beginnings = {bytes(beginning) for (beginning,) in connection.execute(query)}
        return sorted(beginning[:7].decode() for beginning in beginnings if MONTH.fullmatch(beginning))

    def duplicate_ids(self, table_mapping: TableMapping) -> frozenset[int]:
        """Return the row numbers whose id an earlier row has already; only a table without a key can have them."""
        if self.key_is_rowid(table_mapping):
            return frozenset()
        key = sqlite_name(table_mapping.mapping.key)
        query = (
            f"{table_mapping.relation('true')} select source_rowid from mapped where {key} is not null "
            f"and source_rowid not in (select min(source_rowid) from mapped group by {key} collate binary)"
        )
        with closing(self.connect()) as connection:
            return frozenset(rowid for (rowid,) in connection.execute(query))


def _describe(name: str, connection: sqlite3.Connection) -> SourceTable:
    # table_info would leave out generated columns. The pragma itself rather than the function pragma_table_xinfo: a
    # table of that name in the file would be read instead.
    rows = connection.execute(f"pragma main.table_xinfo({literal(name)})").fetchall()
    info = [(column, pk, hidden) for _, column, _, _, _, pk, hidden in rows]
    causes = {column: cause for column, _, hidden in info if hidden and (cause := _cause(name, column, connection))}
    columns = tuple(column for column, *_ in info if column not in causes)
    unreadable = tuple(
        f"{name}.{column} can be computed by its application only: {causes[column]}" for column in causes
    )
    rowid = _rowid_name(name, [column for column, *_ in info], connection)
    if not rowid:
        return SourceTable(name, columns, f"temp.{sqlite_name(name)}", _free_rowid_name(columns), None, unreadable)
    keys = [column for column, pk, _ in info if pk]
    # Every other key has an index: an INT PRIMARY KEY, or an INTEGER PRIMARY KEY DESC, is a column of its own
    # (https://sqlite.org/lang_createtable.html#rowid).
    indexed = any(
        origin == "pk" for _, _, _, origin, _ in connection.execute(f"pragma main.index_list({literal(name)})")
    )
    # An index may need a collation or a function that is missing here; the rows do not.
    relation = f"main.{sqlite_name(name)} not indexed"
    return SourceTable(name, columns, relation, rowid, keys[0] if keys and not indexed else None, unreadable)


def _cause(name: str, column: str, connection: sqlite3.Connection) -> str | None:
    """Return why a generated column can't be read here; None where it can."""
    try:
        connection.execute(f"select {sqlite_name(column)} from main.{sqlite_name(name)} not indexed limit 0")
    except sqlite3.OperationalError as error:
        missing = NEEDED.fullmatch(str(error).removesuffix("()"))
        return f"needs the function {missing['function']}" if missing else str(error)
    return None


def _rowid_name(name: str, columns: Sequence[str], connection: sqlite3.Connection) -> str | None:
    """Return a name of the row number that no column shadows; None where the table has none."""
    free = [alias for alias in ROWID_NAMES if alias not in {folded(column) for column in columns}]
    if not free:
        return None
    try:
        # Tables WITHOUT ROWID have none. Trying works with every SQLite; pragma table_list came with 3.37.
        connection.execute(f"select {free[0]} from main.{sqlite_name(name)} limit 0")
    except sqlite3.OperationalError:
        return None
    return free[0]


def _numbered_copy(table: SourceTable) -> tuple[str, str]:
    """Return the statements that make a copy with row numbers and fill it."""
    # Named and without types: by "create … as select" SQLite calls a column "true" column2, and converts values.
    numbered = [] if table.rowid in ROWID_NAMES else [table.rowid]
    columns = ", ".join([*numbered, *map(sqlite_name, table.columns)])
    values = ", ".join([*("row_number() over ()" for _ in numbered), *map(sqlite_name, table.columns)])
    name = sqlite_name(table.name)
    return f"create temp table {name} ({columns})", f"insert into temp.{name} select {values} from main.{name}"


def _free_rowid_name(columns: Sequence[str]) -> str:
    """Return the name by which a numbered copy's rows are found; a column of the copy where all others are taken."""
    taken = {folded(column) for column in columns}
    return next((alias for alias in ROWID_NAMES if alias not in taken), sqlite_name(_free_name(taken)))


def _free_name(taken: set[str]) -> str:
    name = NUMBER_COLUMN
    while name in taken:
        name += "_"
    return name


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


def clean_condition(types: dict[str, str]) -> str:
    """Return the SQLite condition under which a mapped row takes the fast path; `types` are the outputs' types."""
    return " and ".join(CLEAN[target].format(sqlite_name(output)) for output, target in types.items())


def read_clean(
    connection: adbc_driver_sqlite.dbapi.Connection,
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
    with connection.cursor() as cursor:
        # All rows in one batch, since the reader takes the types from the first one; and one more for the constants.
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(Limits.chunk_rows + 1)})
        cursor.execute(query)
        table = cursor.fetch_arrow_table().slice(1)
    return table.rename_columns(["source_rowid", *types])


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
