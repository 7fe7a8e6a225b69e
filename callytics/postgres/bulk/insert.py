"""Bulk insert: Python rows into a table by COPY, batch by batch."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from callytics.exceptions import RowRefused
from callytics.postgres.bulk.copying import SIGNATURE, TRAILER, as_csv, pack
from callytics.postgres.bulk.encoders import Encoder, binary_encoder, text_encoder
from callytics.postgres.pool.sessions import Session
from callytics.postgres.sql import Composed, Queries, identifier
from callytics.postgres.text import counted

SQL = Queries(Path(__file__).with_name("insert.sql"))
# Bytes encoded at a time: the server stores one batch while the next is encoded. The size of a row is not known before
# the first batch, which has FIRST_ROWS rows; no batch has more than MOST_ROWS.
BATCH_BYTES = 800_000
FIRST_ROWS = 200
MOST_ROWS = 10_000
TURNED_ROWS = 500
# Batches whose line numbers are remembered: the server may report a row when megabytes more have been sent.
REMEMBERED = 256


def copy_rows(
    session: Session,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    check_cancelled: Callable[[], None] = lambda: None,
) -> int:
    """Insert the rows in the session's transaction and return how many; each batch calls ``check_cancelled``.

    Values must be of the column's type, as :meth:`PostgreSQLManager.bulk_insert` lists them. Raises RowRefused, which
    names the row by its index and the column but not the value, for a value that does not fit, whether it is noticed
    here or by the server. The transaction must be rolled back then, as after any error.
    """
    source = _source(session, table, columns, rows)
    statement = SQL.text("copy", table=table, columns=columns, format=Composed(source.format))
    try:
        with session.cursor().copy(statement) as copy:
            for batch in iter(source.batch, b""):
                check_cancelled()
                copy.write(batch)
    except psycopg.DataError as error:
        # Without its cause: the DETAIL of a refused row quotes the row.
        raise source.refusal(table, error) from None
    except Unreadable as error:
        raise error.why from None
    return source.count


class Unreadable(Exception):
    """Rows that can't be read, and why."""

    def __init__(self, why: BaseException) -> None:
        super().__init__("the rows can't be read")
        self.why = why


class BinarySource:
    """The rows as COPY reads them, made batch by batch, in its binary form."""

    format = "binary"

    def __init__(
        self,
        columns: Sequence[str],
        encoders: Sequence[Encoder],
        rows: Iterable[Sequence[Any]],
    ) -> None:
        self.count = 0
        self._columns = columns
        self._encoders = encoders
        self._rows = iter(rows)
        self._size = FIRST_ROWS
        self._head: bytes = self.signature
        self._tail: bytes = self.trailer

    signature = SIGNATURE
    trailer = TRAILER

    def batch(self) -> bytes:
        """Return what COPY reads next, nothing at the end; raise Unreadable because of what makes that impossible."""
        try:
            return self._next()
        except BaseException as error:
            # psycopg tells the server what it catches, whose log is no place for the caller's values.
            raise Unreadable(error) from None

    def refusal(self, table: str, error: psycopg.Error) -> RowRefused:
        """Return the server's objection to a row, which it reports by line number."""
        head = f"COPY {table.split('.')[-1]}"
        # A type's input function may add lines of its own before COPY's.
        # Only the context tells line and column. lc_messages may translate it, but not COPY, the number and the names.
        lines = (error.diag.context or "").splitlines()
        context = next((text.removeprefix(head) for text in lines if text.startswith(head)), "")
        reason = f"PostgreSQL can't store it ({error.sqlstate}: {(error.diag.message_primary or '').split(':')[0]})"
        found = re.search(r"\d+", context)
        if found is None:
            return RowRefused(f"{table}: {reason}")
        column = next((name for name in self._columns if f" {name}" in context.partition(": ")[0]), "")
        return RowRefused(_words(self.row(int(found[0])), column, reason))

    def row(self, line: int) -> int:
        """Return the index of the row on a line; lines count from 1."""
        return line - 1

    def write(self, arrays: Sequence[pa.Array]) -> bytes:
        """Return a batch as COPY reads it."""
        return pack(arrays)

    def _next(self) -> bytes:
        head, self._head = self._head, b""
        rows = list(islice(self._rows, self._size))
        if not rows:
            tail, self._tail = self._tail, b""
            return head + tail
        text = self.write(self._encode(rows))
        self.count += len(rows)
        # By the last batch's bytes a row: the wider the rows, the fewer at a time.
        self._size = min(BATCH_BYTES * len(rows) // len(text) + 1, MOST_ROWS)
        return head + text

    def _encode(self, rows: Sequence[Sequence[Any]]) -> list[pa.Array]:
        return [self._encode_column(number, values) for number, values in enumerate(self._transposed(rows))]

    def _transposed(self, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        width = len(self._columns)
        columns: list[list[Any]] = [[] for _ in range(width)]
        with suppress(ValueError):
            # In blocks that stay in the processor's cache, which is twice as fast.
            for begin in range(0, len(rows), TURNED_ROWS):
                turned = zip(*rows[begin : begin + TURNED_ROWS], strict=True)
                for column, values in zip(columns, turned, strict=True):
                    column.extend(values)
            return columns
        index = next(index for index, row in enumerate(rows) if len(row) != width)
        raise RowRefused(
            _words(self.count + index, "", f"has {counted(len(rows[index]), 'value')} for {counted(width, 'column')}")
        )

    def _encode_column(self, number: int, values: Sequence[Any]) -> pa.Array:
        encoder = self._encoders[number]
        try:
            return encoder.encode(values)
        except (TypeError, ValueError, OverflowError):
            # Arrow's own exceptions are of these kinds too.
            index, reason = encoder.first_wrong(values)
            raise RowRefused(_words(self.count + index, self._columns[number], reason)) from None


class CsvSource(BinarySource):
    """The rows as CSV for COPY, for types whose binary form is not known here."""

    format = "csv"
    signature = trailer = b""

    def __init__(
        self,
        columns: Sequence[str],
        encoders: Sequence[Encoder],
        rows: Iterable[Sequence[Any]],
    ) -> None:
        super().__init__(columns, encoders, rows)
        self._lines = 1
        self._remembered: deque[Batch] = deque(maxlen=REMEMBERED)

    def write(self, arrays: Sequence[pa.Array]) -> bytes:
        """Return a batch as COPY reads it."""
        text = as_csv(arrays)
        lines = text.count(b"\n")
        self._remembered.append(Batch(self.count, self._lines, arrays if lines != len(arrays[0]) else ()))
        self._lines += lines
        return text

    def row(self, line: int) -> int:
        """Return the index of the row on a line; a row takes several lines if its text has line ends."""
        batch = next(batch for batch in reversed(self._remembered) if batch.line <= line)
        return batch.row + batch.index(line - batch.line)


@dataclass(frozen=True)
class Batch:
    """Where a batch begins, by row and line; with its arrays if some of its rows take more than one line."""

    row: int
    line: int
    arrays: Sequence[pa.Array]

    def index(self, line: int) -> int:
        """Return the index in the batch of the row that this line belongs to."""
        end = 0
        for index, row in enumerate(zip(*(array.to_pylist() for array in self.arrays), strict=True)):
            # CSV keeps line ends inside quotes, and the server counts them as lines.
            end += 1 + sum(text.count("\n") for text in row if text is not None)
            if line < end:
                return index
        return line


def _source(session: Session, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> BinarySource:
    """Return the rows in binary form if we have that of every column, as CSV otherwise.

    A column that the table lacks counts as text: COPY reports it.
    """
    columns_of_table = SQL.rows(session, "columns", (identifier(table),))
    # Asked each time: a table may have gained a column since.
    types = {name: (type_name, is_array) for name, type_name, is_array in columns_of_table}
    found = [types.get(column, ("text", False)) for column in columns]
    encoders = [encoder for kind in found if (encoder := binary_encoder(*kind))]
    if len(encoders) == len(columns):
        return BinarySource(columns, encoders, rows)
    return CsvSource(columns, [text_encoder(*kind) for kind in found], rows)


def _words(row: int, column: str, reason: str) -> str:
    return f"rows[{row}]{'.' if column else ''}{column}: {reason}"
