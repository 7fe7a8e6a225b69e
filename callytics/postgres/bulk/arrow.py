"""Helpers for Arrow arrays that Arrow itself lacks."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a table's column as one array: what kernels take that know no chunks."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def all_true(mask: pa.Array | pa.ChunkedArray) -> bool:
    """Tell whether no value of a mask is false; an empty one and NULLs are true."""
    return bool(pc.all(mask).as_py() is not False)
