"""What a statement returns to its caller: rows as dicts, one of them, a value, or how many rows it touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

Row = dict[str, Any]
Fetch = Literal["all", "one", "val", "none"]


def _names(cursor: Any) -> list[str]:
    names = [column[0] for column in cursor.description]
    # A dict would keep the last of the two without a word.
    if len(set(names)) < len(names):
        raise ValueError(f"two columns have the same name, rename one with AS: {', '.join(names)}")
    return names


def _all(cursor: Any) -> list[Row]:
    if cursor.description is None:
        return []
    names = _names(cursor)
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _one(cursor: Any) -> Row | None:
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else dict(zip(_names(cursor), row, strict=True))


def _val(cursor: Any) -> Any:
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else row[0]


def _none(cursor: Any) -> int:
    count: int = cursor.rowcount
    return count


FETCH: Mapping[Fetch, Callable[[Any], Any]] = {"all": _all, "one": _one, "val": _val, "none": _none}
