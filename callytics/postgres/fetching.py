"""What a statement returns to its caller: rows as dicts, one of them, a value, or how many rows it touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from psycopg import Cursor
from psycopg.pq import ExecStatus
from psycopg.rows import tuple_row

from callytics.postgres.sql import Row

Fetch = Literal["all", "one", "val", "none"]


def as_dict(cursor: Any) -> Callable[[Sequence[Any]], Row]:
    """Return what makes a row a dict; raise ValueError where it would keep one of two columns without a word."""
    result = cursor.pgresult
    names = [result.fname(number).decode() for number in range(result.nfields)] if result else []
    if len(set(names)) < len(names):
        raise ValueError(f"two columns have the same name, rename one with AS: {', '.join(names)}")
    return lambda values: dict(zip(names, values, strict=True))


# How a cursor makes rows for each way to fetch.
FACTORIES: Mapping[Fetch, Any] = {"all": as_dict, "one": as_dict, "val": tuple_row, "none": tuple_row}


def fetched(cursor: Cursor[Any], fetch: Fetch) -> Any:
    """Return what the last statement of a cursor has returned."""
    while cursor.nextset():
        pass
    if fetch == "none":
        return cursor.rowcount
    result = cursor.pgresult
    if result is None or result.status != ExecStatus.TUPLES_OK:
        return [] if fetch == "all" else None
    if fetch == "all":
        return cursor.fetchall()
    row = cursor.fetchone()
    return row[0] if fetch == "val" and row is not None else row
