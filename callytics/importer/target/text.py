"""Values as the text that PostgreSQL reads back exactly: one by one for INSERT, whole columns for COPY."""

from __future__ import annotations

import io
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# What COPY's text format escapes, the backslash first (https://www.postgresql.org/docs/15/sql-copy.html).
ESCAPES = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))


def copy_text(columns: dict[str, pa.Array]) -> io.BytesIO:
    """Return columns in the text format of COPY, which PostgreSQL reads back exactly."""
    # No header and no quotes: COPY's text format knows only tabs, line ends and backslashes.
    fields = [_escaped(column) for column in columns.values()]
    lines = pc.binary_join_element_wise(*fields, "\t")
    return io.BytesIO("".join(f"{line}\n" for line in lines.to_pylist()).encode())


def _escaped(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        column = pa.array([literal(value, "[]") for value in column.to_pylist()], pa.string())
    text = pc.cast(column, pa.string())
    if pa.types.is_string(column.type):
        for character, escape in ESCAPES:
            text = pc.replace_substring(text, character, escape)
    return pc.fill_null(text, "\\N")


def literal(value: Any, kind: str) -> str | None:
    """Return a value as the text that PostgreSQL reads back exactly."""
    if value is None:
        return None
    if kind.endswith("[]"):
        return "{" + ",".join("NULL" if element is None else repr(element) for element in value) + "}"
    # The shortest text that reads back as the same double; without a cast to numeric, which has no -0.
    if isinstance(value, float):
        return repr(value)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
