"""The list of calls, newest first, and those of it in which some words were said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callytics.calls.finding.paging import moment
from callytics.calls.finding.seen import CONDITIONS, Seen
from callytics.calls.finding.windows import FREQUENT, frequency
from callytics.calls.finding.words import SQL, Words
from callytics.calls.scope import Scope
from callytics.postgres import PostgreSQLManager, Row
from callytics.postgres.sql import Composed

# The parameters of each condition: it becomes part of the query if any of them is given.
FILTERS = {
    "calls_after": ("after_time",),
    "calls_since": ("since",),
    "calls_until": ("until",),
    "calls_status": ("status",),
    "calls_path": ("path",),
    "calls_name": ("name",),
    "calls_topic": ("topic",),
    "calls_session": ("agent", "consultation_type", "analysis_status"),
}
# How many recordings are looked at first for each row of the page, where the words are frequent, and where not; then as
# many as should fill the page half as often again. After the last of these few recordings have the words, and all that
# have are searched for at once.
FIRST_FREQUENT = 1
FIRST = 4
SPARE = 1.5
AT_ONCE = 32
LAST = 36


class Calls:
    """The calls of a scope, with words those in which they were said."""

    def __init__(self, postgres: PostgreSQLManager, scope: Scope, words: Words | None = None) -> None:
        self.postgres = postgres
        self.scope = scope
        self.words = words

    def page(self, values: Mapping[str, Any]) -> list[Row]:
        """Return the newest ``limit`` calls that match all filters; the values are the parameters of FILTERS."""
        values = self.scope.values(values)
        return self._find(values) if self.words is None else self._that_say(values, self.words)

    def _that_say(self, values: dict[str, Any], words: Words) -> list[Row]:
        """Return the newest recordings that match all filters and have the words said in them.

        The list is walked in steps: each takes the next recordings that match the other filters and asks which of
        them have the words. What the steps leave of the page is searched for at once, since few recordings have words
        that so many lacked.
        """
        most = values["limit"]
        found: list[int] = []
        looked_at = 0
        position: dict[str, Any] = {}
        frequent = frequency(self.postgres, words) >= FREQUENT
        while looked_at < LAST * most:
            size = self._step(most, looked_at, len(found), frequent)
            calls = self._next_calls(values | {"limit": size} | position)
            row_by_row = frequent and len(calls) <= FIRST * most
            found += self._saying(calls, words, None if row_by_row else most - len(found))
            if len(found) >= most or len(calls) < size:
                return self._calls(found[:most])
            looked_at += size
            position = {"after_time": moment(calls[-1]), "after_id": calls[-1]["id"]}
        return self._calls(found) + self._find(values | position | {"limit": most - len(found)})

    def _step(self, most: int, looked_at: int, found: int, frequent: bool) -> int:
        """Return how many recordings to look at next."""
        if not looked_at and not frequent and isinstance(self.scope, Seen) and self.scope.few:
            # Their ids lie so far apart that each step would meet as many hits in calls of others.
            return AT_ONCE * most
        if not looked_at:
            return most * (FIRST_FREQUENT if frequent else FIRST)
        wanted = (most - found) * SPARE * looked_at / max(found, 0.1)
        return int(min(max(wanted, most), AT_ONCE * most))

    def _find(self, values: dict[str, Any]) -> list[Row]:
        """Return the recordings that match all filters, the words among them."""
        said = [] if self.words is None else [CONDITIONS.text("calls_search", **self.words.parts())]
        conditions = Composed(" and ".join([self._conditions(values), *said]))
        own = {} if self.words is None else self.words.values()
        return self.postgres.execute_query(SQL.text("find_calls", conditions=conditions), values | own)

    def _next_calls(self, values: dict[str, Any]) -> list[Row]:
        return self.postgres.execute_query(SQL.text("next_calls", conditions=self._conditions(values)), values)

    def _conditions(self, values: Mapping[str, Any]) -> Composed:
        """Return the scope's and those of the given filters only, so that the planner can use the index of each."""
        used = [name for name, given in FILTERS.items() if any(values[value] is not None for value in given)]
        return Composed(" and ".join([self.scope.condition("a.id"), *(CONDITIONS[name] for name in used)]))

    def _saying(self, calls: Sequence[Row], words: Words, wanted: int | None) -> list[int]:
        """Return the ids of those recordings in which the words were said, in their order.

        With ``wanted`` the full-text index tells, for the first so many at least; then utterances are asked for only
        where there are no transcriptions. Without, the sentences are read, recording by recording.
        """
        if wanted is None:
            return self._those(calls, "calls_that_say", words)
        found = self._those(calls, "calls_transcribed", words)
        ids = [call["id"] for call in calls]
        last = ids.index(found[wanted - 1]) if len(found) >= wanted else len(ids)
        others = {*ids[:last]} - {*found}
        silent = {*self._those([call for call in calls if call["id"] in others], "without_transcriptions", words)}
        uttered = self._those([call for call in calls if call["id"] in silent], "calls_uttered", words)
        either = {*found, *uttered}
        return [call for call in ids if call in either]

    def _those(self, calls: Sequence[Row], query: str, words: Words) -> list[int]:
        """Return the ids of those recordings that a query names, in their order."""
        if not calls:
            return []
        ids: list[int] = [call["id"] for call in calls]
        values = {"ids": ids, "paths": [call["file_path"] for call in calls], "lowest": min(ids), "highest": max(ids)}
        text = SQL.text(query, **words.parts(by_index=query != "calls_that_say"))
        rows = self.postgres.execute_query(text, words.values() | values)
        named = {row["id"] for row in rows}
        return [call for call in ids if call in named]

    def _calls(self, ids: Sequence[int]) -> list[Row]:
        values = self.scope.values({"ids": list(ids), "limit": len(ids)})
        conditions = Composed(f"{self.scope.condition('a.id')} and {CONDITIONS['calls_ids']}")
        return self.postgres.execute_query(SQL.text("find_calls", conditions=conditions), values)
