"""What was said, newest first, window by window back in time.

A search that fetched every hit and sorted them would cost what the word is frequent. Instead each window is a range of
(created_at, id) in both tables of what was said; later windows are longer, so that a page is full after few of them
whatever the word. A window that holds few rows is read row by row; in a longer one the full-text index and the index of
the order are combined, so that only hits within it are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from callytics.calls.finding.paging import EARLIEST, Position, moment
from callytics.calls.finding.seen import CONDITIONS, Seen, with_silent
from callytics.calls.finding.words import SQL, Words
from callytics.calls.scope import Scope
from callytics.postgres import PostgreSQLManager, Row
from callytics.postgres.sql import Composed

LATEST = "infinity"
SMALLEST_ID = -(2**63)
LARGEST_ID = 2**63 - 1
# Rows of the first windows, for each row of a page. A word of every fourth sentence fills its page in the first, which
# is read row by row; in the second the index of a frequent word is read for one month only.
FIRST_ROWS = 4
SECOND_ROWS = 128
# Then the rest of that month, which is a partition, a month, a year, and everything: a page that one of them did not
# fill means that so few rows match that the hits of the next are few as well.
MONTHS_BEFORE = (0, 1, 12)
TRANSCRIPTION = 2
# Where only a part of the recordings may be seen, the first window has as many rows as should fill the page half as
# often again, unless the index finds it sooner.
SPARE = 1.5
MOST_ROWS = 15_000
# What the queries read, unless they go call by call.
TABLES = {"transcriptions_of_calls": "transcriptions as t", "utterances_of_calls": "utterances as u"}
# From this part of the sentences on a word is frequent: reading the sentences of a recording, at 4 µs each, soon finds
# it, while the full-text index would name tens of thousands of rows of other recordings.
FREQUENT = 0.015
SAMPLED_ROWS = 400


@dataclass(frozen=True)
class Window:
    """The rows below ``before`` down to ``start``, which belongs to it."""

    before: Position
    start: Position
    row_by_row: bool = False

    def values(self) -> dict[str, Any]:
        """Return the parameters of the queries that read a window."""
        return {
            "before_time": self.before.time,
            "before_id": self.before.numbers[0],
            "from_time": self.start.time,
            "from_id": self.start.numbers[0],
        }


OLDEST = Position(EARLIEST, (SMALLEST_ID, 1))
NEWEST = Position(LATEST, (LARGEST_ID, TRANSCRIPTION))


@dataclass(frozen=True)
class Way:
    """How far back the next window reaches, and whether its rows are read one by one."""

    start: Callable[[Position], Position]
    row_by_row: bool = False


class Said:
    """What was said with some words in it."""

    def __init__(self, postgres: PostgreSQLManager, words: Words, scope: Scope) -> None:
        self.postgres = postgres
        self.words = words
        self._frequency = frequency(postgres, words) if isinstance(scope, Seen) else 0.0
        self.scope = with_silent(postgres, scope, self._frequency) if isinstance(scope, Seen) else scope

    def page(self, before: Position, limit: int) -> list[Row]:
        """Return the newest ``limit`` hits below a position, of one time and id the transcription first."""
        rows: list[Row] = []
        if isinstance(self.scope, Seen) and not self.scope.calls:
            return rows
        for window in self.windows(before, limit):
            rows += self.within(window, limit - len(rows))
            if len(rows) == limit:
                break
        return rows

    def windows(self, before: Position, limit: int) -> Iterator[Window]:
        """Yield windows from a position back to the oldest row, each when it is wanted."""
        for way in (*self._by_rows(limit), *self._by_months()):
            start = way.start(before)
            yield Window(before, start, way.row_by_row)
            if start == OLDEST:
                return
            before = start

    def within(self, window: Window, limit: int) -> list[Row]:
        """Return the newest hits within a window.

        Utterances are asked for only where the transcriptions leave room, since each hit in them may be one of those
        that generation 3 keeps twice, and to find that out costs more than to find the hit.
        """
        values = self.scope.values(window.values() | self.words.values() | {"limit": limit})
        parts = self._parts(window)
        transcribed = self.postgres.execute_query(self.scope.text(SQL, "transcribed", **parts), values)
        if len(transcribed) == limit:
            values |= {"from_time": moment(transcribed[-1]), "from_id": transcribed[-1]["id"]}
        if isinstance(self.scope, Seen) and self.scope.silent == "{}":
            return transcribed
        uttered = self.postgres.execute_query(self.scope.text(SQL, "uttered", **parts), values)
        return sorted(transcribed + uttered, key=_order, reverse=True)[:limit]

    @property
    def _call_by_call(self) -> bool:
        return isinstance(self.scope, Seen) and self.scope.few and self._frequency >= FREQUENT

    def _parts(self, window: Window) -> dict[str, Composed]:
        sources = CONDITIONS if self._call_by_call else TABLES
        row_by_row = window.row_by_row or self._call_by_call
        return {
            **self.words.parts(by_index=not row_by_row),
            "row_by_row": Composed("is true" if row_by_row else ""),
            "below": Composed("<=" if window.before.numbers[1] == TRANSCRIPTION else "<"),
            "transcriptions": Composed(sources["transcriptions_of_calls"]),
            "utterances": Composed(sources["utterances_of_calls"]),
        }

    def _by_rows(self, limit: int) -> list[Way]:
        """Return the first ways: of a known part of the recordings as many rows as should hold a page, if not many."""
        if not isinstance(self.scope, Seen):
            return [
                Way(partial(self._rows_before, rows=FIRST_ROWS * limit), row_by_row=True),
                Way(partial(self._rows_before, rows=SECOND_ROWS * limit)),
            ]
        rows = limit * SPARE / max(self.scope.share * self._frequency, 1e-9)
        if self.scope.few or rows > MOST_ROWS:
            return []
        # Teams work in shifts: their next call may be hours back, and that is still less to read than a month's hits.
        sizes = (int(rows * factor) for factor in (1, 4, 16))
        return [Way(partial(self._rows_before, rows=size), row_by_row=True) for size in sizes if size <= 4 * MOST_ROWS]

    def _by_months(self) -> list[Way]:
        # Few calls of rare words: the rest of a month would be one more window for nothing.
        rare = isinstance(self.scope, Seen) and self._frequency < FREQUENT
        months = MONTHS_BEFORE[1:] if rare else MONTHS_BEFORE
        return [*(Way(partial(self._months_before, months=number)) for number in months), Way(lambda _: OLDEST)]

    def _rows_before(self, before: Position, rows: int) -> Position:
        values = {"before_time": before.time, "before_id": before.numbers[0], "rows": rows}
        last = self.postgres.execute_query(SQL["window_end"], values, fetch="one")
        return Position(last["time"], (last["id"], 1)) if last else OLDEST

    def _months_before(self, before: Position, months: int) -> Position:
        time = self.postgres.execute_query(SQL["months_before"], {"time": before.time, "months": months}, fetch="val")
        return Position(time, (SMALLEST_ID, 1))


def frequency(postgres: PostgreSQLManager, words: Words) -> float:
    """Return in which part of the newest sentences the words are."""
    query = SQL.text("frequency", **words.parts(by_index=False))
    return float(postgres.execute_query(query, words.values() | {"rows": SAMPLED_ROWS}, fetch="val"))


def _order(row: Row) -> tuple[bool, datetime, int, int]:
    at = row["created_at"]
    return at is not None, at or datetime.min.replace(tzinfo=UTC), row["id"], row["source_number"]
