"""Arrow arrays in the forms that COPY reads: binary, assembled by Arrow's kernels, or CSV.

https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

# The signature, then the flags and the length of the header's extension: both 0.
SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
# A row of -1 fields ends the file.
TRAILER = b"\xff\xff"
NOTHING = pa.scalar(b"", pa.binary())
# A length of -1, with no bytes to follow.
NULL = b"\xff\xff\xff\xff"
# The array module's type codes for integers of a width in bytes; a float's bytes are swapped the same way.
CODES = {2: "h", 4: "i", 8: "q"}


def pack(arrays: Sequence[pa.Array]) -> bytes:
    """Return rows in binary form, without signature and trailer.

    Takes numbers, durations, text and bytes, each for the PostgreSQL type of the same form: a date as an int32 of days,
    a timestamp as a duration, both since 2000.
    """
    cells: list[pa.Array | pa.Scalar] = [_bytes_of(len(arrays), 2)]
    for column in arrays:
        pieces = _pieces(column)
        # Length and bytes are joined first: where the value is NULL both are, and NULL stands for them once.
        cells += [_join(pieces)] if column.null_count else pieces
    rows = pc.binary_join_element_wise(*cells, NOTHING, null_handling="replace", null_replacement=NULL)
    packed: bytes = rows.buffers()[2].to_pybytes()
    return packed


def as_csv(arrays: Sequence[pa.Array]) -> bytes:
    """Return rows as CSV; NULL is an empty field, an empty text is a pair of quotes. Lists have no form in CSV."""
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_arrays(list(arrays), [str(number) for number in range(len(arrays))])
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=False))
    text: bytes = sink.getvalue().to_pybytes()
    return text


def _pieces(column: pa.Array) -> list[pa.Array | pa.Scalar]:
    """Return the two parts of a column's cells: the number of bytes, and the bytes."""
    if pa.types.is_string(column.type):
        column = column.cast(pa.binary())
    if pa.types.is_binary(column.type):
        return [_swapped(pc.binary_length(column)), column]
    if pa.types.is_boolean(column.type):
        # Arrow packs eight of them into a byte.
        column = column.cast(pa.int8())
    return [_bytes_of(column.type.bit_width // 8, 4), _swapped(column)]


def _swapped(column: pa.Array) -> pa.Array:
    """Return numbers as big-endian bytes."""
    width = column.type.bit_width // 8
    # From the buffer's beginning: arrays come fresh from an encoder, never as a slice with an offset.
    valid, values = column.buffers()
    if width > 1:
        # PostgreSQL's forms are in network byte order, and Arrow has no kernel that swaps bytes.
        numbers = array(CODES[width], bytes(memoryview(values)[: len(column) * width]))
        numbers.byteswap()
        values = pa.py_buffer(numbers)
    # A power of two, so that batches of any length share a few cached buffers.
    ends = _ends(width, 1 << len(column).bit_length())
    return pa.BinaryArray.from_buffers(pa.binary(), len(column), [valid, ends, values])


@cache
def _ends(width: int, number: int) -> pa.Buffer:
    """Return the offsets of that many values of a fixed width; an array may use only the first ones."""
    return pa.py_buffer(array("i", range(0, (number + 1) * width, width)))


def _join(pieces: Sequence[pa.Array | pa.Scalar]) -> pa.Array:
    return pc.binary_join_element_wise(*pieces, NOTHING)


def _bytes_of(number: int, width: int) -> pa.Scalar:
    return pa.scalar(number.to_bytes(width, "big"), pa.binary())
