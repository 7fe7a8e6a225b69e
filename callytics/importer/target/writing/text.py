"""Converted values as the text that PostgreSQL reads back exactly: one by one for INSERT, whole columns for COPY.

What the bulk insert's encoders refuse by its Python type (callytics/postgres/bulk/encoders.py) has no counterpart here:
the conversion has made each value one of the few types that a target column is written from.
"""

from __future__ import annotations

import io
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from callytics.postgres.bulk.copying import as_csv


def copy_csv(columns: dict[str, pa.Array]) -> io.BytesIO:
    """Return columns as CSV for COPY, which PostgreSQL reads back exactly."""
    return io.BytesIO(as_csv([_without_lists(column) for column in columns.values()]))


def _without_lists(column: pa.Array) -> pa.Array:
    if not pa.types.is_list(column.type):
        return column
    return pa.array([literal(value, "[]") for value in column.to_pylist()], pa.string())


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
