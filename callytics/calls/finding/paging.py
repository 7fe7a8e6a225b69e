"""Keyset pagination: a page starts after the last row of the previous one, so that new rows do not shift it.

https://use-the-index-luke.com/no-offset
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from callytics.exceptions import InvalidSearch
from callytics.postgres import Row
from callytics.postgres.text import storable

MOST = 500
# Rows without a time are the oldest: created_at may be NULL in imported ones.
EARLIEST = "-infinity"


@dataclass(frozen=True)
class Page:
    """Rows of a list, and the cursor for the next page, None at the end."""

    rows: list[Row] = field(repr=False)
    next: str | None


@dataclass(frozen=True)
class Count:
    """How many rows a list has on all its pages; where it is not ``exact``, at least so many."""

    rows: int
    exact: bool


@dataclass(frozen=True)
class Position:
    """The position of a page's last row: its time, and the numbers that distinguish rows of the same time."""

    time: str
    numbers: tuple[int, ...]


def make_page(kind: str, rows: list[Row], limit: int, columns: Sequence[str]) -> Page:
    """Return the first ``limit`` of the rows, with a cursor if there are more; callers fetch one row more than that."""
    page = rows[:limit]
    return Page(page, _cursor(kind, page[-1], columns) if len(rows) > limit else None)


def counted(largest: Page) -> Count:
    """Return how many rows a list has, from its first page of MOST rows: counting on would cost what there is."""
    return Count(len(largest.rows), exact=largest.next is None)


def read_cursor(kind: str, cursor: str | None, numbers: int) -> Position | None:
    """Return the position that a cursor encodes; raise InvalidSearch for a cursor we did not issue."""
    if cursor is None:
        return None
    try:
        # A cursor comes back from the client, who may have made it up.
        found, at, *others = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
        position = Position(_time(at), tuple(map(_number, others)))
    except (AttributeError, binascii.Error, RecursionError, TypeError, ValueError):
        found, position = None, None
    if position is None or found != kind or len(position.numbers) != numbers:
        raise InvalidSearch("after: is not what 'next' of a page of this list held")
    return position


def check_limit(limit: int) -> int:
    """Return the size of a page; raise InvalidSearch if it is not between 1 and 500."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise InvalidSearch(f"limit: must be a whole number between 1 and {MOST}")
    return limit


def searched(text: Any) -> str | None:
    """Return a text that the database can hold, or None; raise InvalidSearch for any other, which no row can match."""
    if text is None:
        return None
    try:
        if isinstance(text, str):
            return storable(text)
    except ValueError:
        pass  # Refused below, like what is not text.
    raise InvalidSearch("what is looked for must be text, without NUL and half characters")


def moment(row: Row) -> str:
    """Return when a row was created as lists are ordered: a time that nobody knows is before all others."""
    at = row["created_at"]
    return EARLIEST if at is None else str(at.isoformat())


def _cursor(kind: str, row: Row, columns: Sequence[str]) -> str:
    position = [kind, moment(row), *(row[column] for column in columns)]
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _time(text: Any) -> str:
    if text != EARLIEST and datetime.fromisoformat(text).utcoffset() is None:
        raise ValueError
    return str(text)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError
    return value
