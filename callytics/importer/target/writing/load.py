"""Load: chunks of a table into PostgreSQL, each committed together with its checkpoint.

Clean rows go by binary COPY (Arrow over ADBC). The others, and the neighbours of a row that a constraint refuses, go
by INSERT in a transaction of their own with their checkpoint, halved around each refused row until it stands alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pyarrow as pa
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values

from callytics.importer.convert.chunks import Chunk, Conversion, Converter
from callytics.importer.convert.rows import ConvertedRow, encode_row
from callytics.importer.options import Progress
from callytics.importer.records.entries import TableRecord
from callytics.importer.records.ledger import INSERT_COPIED, Ledger, batches
from callytics.importer.source.mapping import SourceTable
from callytics.importer.source.reader import EVERYTHING, RowRange, Source, read_rows, rowid_chunks
from callytics.importer.target.shared import refused_rows
from callytics.importer.target.writing.refusals import REFUSAL_CLASSES, Refusal, refused_of
from callytics.importer.target.writing.text import literal

# Enough rows to make up for the round trip, few enough that halving around a refused one stays cheap.
ROWS_AT_ONCE = 1000


class Loader:
    """Loads tables of one run over two connections that are its own while it works.

    `advance` is told of every chunk: what is done, its rows, and the rows of the whole table.
    """

    def __init__(self, rows: Connection, copy: adbc_driver_postgresql.dbapi.Connection, advance: Progress) -> None:
        self.rows, self.copy, self.advance = rows, copy, advance
        self.ledger = Ledger(rows)

    def load(self, record: TableRecord, conversion: Conversion, piece: RowRange = EVERYTHING) -> None:
        """Load what is not there yet of a piece of a mapped table. Commits chunk by chunk."""
        self.begin(record)
        with Converter(conversion) as converter:
            for row_range, copied in self._chunks(
                record, converter.sqlite, conversion.source, conversion.table_mapping.table, piece
            ):
                chunk = converter.chunk(row_range)
                self._load_chunk(record, converter, chunk, copied=copied)
                self.advance(f"load {record.label}", chunk.row_count, record.source_rows)

    def keep(self, record: TableRecord, source: Source, table: SourceTable) -> None:
        """Keep the unmapped columns of a table, all of an unknown one's, row by row. Commits chunk by chunk."""
        self.begin(record)
        with source.opened() as connection:
            for row_range, _ in self._chunks(record, connection, source, table, EVERYTHING):
                rows = read_rows(connection, table, record.unmapped_columns, row_range)
                left = ((rowid, values) for rowid, values in rows if rowid not in record.erased.numbers)
                encoded = ((rowid, encode_row(values)) for rowid, values in left)
                # A chunk is one by the average of the file: of a few large rows there may be too many in it.
                for batch in batches(encoded, lambda one: len(one[1])):
                    part = (batch[0][0], batch[-1][0])
                    self._copy("unmapped", "imports", unmapped_table(record, batch), record, part, pending=False)
                    self.advance(f"load {record.label}", len(batch), record.source_rows)

    def begin(self, record: TableRecord) -> None:
        """Note when the load of a table began."""
        self.ledger.start_table(record.id)
        self.rows.commit()
        self.advance(f"load {record.label}", 0, record.source_rows)

    def finish(self, record: TableRecord) -> None:
        """Note that a table is loaded."""
        self.ledger.finish_table(record.id)
        self.rows.commit()

    def _chunks(
        self, record: TableRecord, connection: sqlite3.Connection, source: Source, table: SourceTable, piece: RowRange
    ) -> Iterator[tuple[RowRange, bool]]:
        """Yield what is to be done of a piece, with whether its COPY is done: what lies between the checkpoints."""
        start = piece[0]
        # Checkpoints of chunks, not of pieces: another number of jobs may have divided the table otherwise.
        recorded = self.ledger.chunks(record.id, piece)
        self.rows.commit()
        for known in recorded:
            for row_range in rowid_chunks(connection, table, source.chunk_rows(table), (start, known.first - 1)):
                yield row_range, False
            if known.pending:
                yield (known.first, known.last), True
            else:
                self.advance(f"load {record.label}", known.rows, record.source_rows)
            start = known.last + 1
        for row_range in rowid_chunks(connection, table, source.chunk_rows(table), (start, piece[1])):
            yield row_range, False

    def _load_chunk(self, record: TableRecord, converter: Converter, chunk: Chunk, *, copied: bool) -> None:
        rows = chunk.rows
        row_range = (chunk.first, chunk.last)
        if not copied:
            # COPY and INSERT go over two connections, so their commits are two: the checkpoint is pending in between,
            # and a resumed import does only what is left of the chunk.
            pending = bool(rows or chunk.refused)
            table = copy_table(chunk.clean, converter.conversion.columns)
            if self._copy(record.target_table, "public", table, record, row_range, pending=pending):
                if not pending:
                    return
            else:
                rows = sorted([*rows, *converter.as_rows(chunk.clean)], key=lambda row: row.rowid)
        self._insert_rows(record, converter, rows, chunk)

    def _copy(
        self,
        table: str,
        schema: str,
        rows: pa.Table,
        record: TableRecord,
        chunk: RowRange,
        *,
        pending: bool,
    ) -> bool:
        """Copy rows and their checkpoint in one transaction; False, with nothing done, when a constraint refused."""
        checkpoint = (record.id, *chunk, rows.num_rows, pending)
        try:
            with self.copy.cursor() as cursor:
                if rows.num_rows:
                    cursor.adbc_ingest(table, rows, mode="append", db_schema_name=schema)
                cursor.execute(INSERT_COPIED, checkpoint)
            self.copy.commit()
        except adbc_driver_manager.Error as error:
            self.copy.rollback()
            if not (error.sqlstate or "").startswith(REFUSAL_CLASSES):
                raise
            return False
        return True

    def _insert_rows(
        self, record: TableRecord, converter: Converter, rows: Sequence[ConvertedRow], chunk: Chunk
    ) -> None:
        """Insert rows, reject those that PostgreSQL refuses, and write the checkpoint: all in one transaction."""
        statement = insert_statement(record.target_table, converter.conversion.columns, self.rows)
        columns = converter.conversion.columns
        refused: dict[int, Refusal] = {}

        def write(first: int, last: int) -> None:
            values = [
                [literal(row.values[name], kind) for name, kind in columns.items()] for row in rows[first : last + 1]
            ]
            execute_values(cursor, statement[0], values, template=statement[1], page_size=len(values))

        with self.rows.cursor() as cursor:
            for batch in batches(list(enumerate(rows)), lambda one: _width(one[1]), ROWS_AT_ONCE):
                refused |= refused_of(cursor, write, batch[0][0], batch[-1][0])
        inserted = [row for number, row in enumerate(rows) if number not in refused]
        found = [(rows[number], refusal) for number, refusal in refused.items()]
        left = chunk.refused + refused_rows(self.rows, converter.conversion, found, converter.source_values)
        self.ledger.reject(record.id, record.source_table, left)
        self.ledger.record_normalisations(record.id, inserted)
        self.ledger.record_rows(record.id, (chunk.first, chunk.last), len(inserted), left)
        self.rows.commit()


def _width(row: ConvertedRow) -> int:
    return sum(len(value) for value in row.values.values() if isinstance(value, str))


def copy_table(clean: pa.Table, columns: dict[str, str]) -> pa.Table:
    """Return the rows in the exact Arrow types that COPY takes for the target's columns."""
    arrays = {name: _copied(clean[name], kind) for name, kind in columns.items()}
    return pa.table(arrays)


def _copied(column: pa.ChunkedArray, kind: str) -> pa.Array:
    array = column.combine_chunks()
    # The only Arrow type that ADBC writes in the binary form of jsonb.
    return pa.ExtensionArray.from_storage(pa.json_(), array) if kind == "jsonb" else array


def unmapped_table(record: TableRecord, numbered: Sequence[tuple[int, str]]) -> pa.Table:
    """Return encoded rows for `imports.unmapped`."""
    # Encoded as JSON that keeps storage classes apart: nothing is known of what these columns mean.
    return pa.table(
        {
            "table_id": pa.array([record.id] * len(numbered), pa.int64()),
            "source_table": pa.array([record.source_table] * len(numbered), pa.string()),
            "source_rowid": pa.array([rowid for rowid, _ in numbered], pa.int64()),
            "source_row": pa.ExtensionArray.from_storage(
                pa.json_(), pa.array([row for _, row in numbered], pa.string())
            ),
        }
    )


def insert_statement(table: str, columns: dict[str, str], connection: Connection) -> tuple[str, str]:
    """Return the INSERT for `execute_values` and its template: every value goes as text and is cast once."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("insert into {} ({}) values %s").format(sql.Identifier("public", table), names)
    return statement.as_string(connection), f"({', '.join(f'%s::{kind}' for kind in columns.values())})"
