"""Finding calls by their properties and by what was said in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from callytics.calls.finding.paging import Page, Position, check_limit, make_page, moment, read_cursor, searched
from callytics.calls.finding.windows import NEWEST, SQL, Said
from callytics.calls.store import OnCalls
from callytics.exceptions import InvalidSearch
from callytics.postgres import Row
from callytics.postgres.as_async import as_async
from callytics.postgres.sql import Composed, Queries
from callytics.postgres.text import replaced

CONDITIONS = Queries(Path(__file__).with_name("conditions.sql"))
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
    "calls_search": ("query",),
}
LONGEST_SEARCH = 1_000
PHRASE = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Step:
    """How many recordings for each row of the page to look at next, and the query that says which have the words."""

    calls: int
    query: str


# From this part of the sentences on a word is frequent: reading the sentences of a recording, at 4 µs each, soon finds
# it, while the full-text index would name tens of thousands of rows of other recordings.
FREQUENT = 0.015
SAMPLED_ROWS = 400
STEPS_OF_FREQUENT_WORDS = (Step(1, "calls_that_say"), Step(4, "calls_that_say"), Step(32, "calls_that_say_by_index"))
STEPS_OF_RARE_WORDS = (Step(4, "calls_that_say_by_index"), Step(32, "calls_that_say_by_index"))


class Search(OnCalls):
    """Finds calls and what was said in them, page by page."""

    def find_calls(
        self,
        *,
        since: date | datetime | None = None,
        until: date | datetime | None = None,
        status: str | None = None,
        agent: str | None = None,
        consultation_type: str | None = None,
        analysis_status: str | None = None,
        path: str | None = None,
        name: str | None = None,
        topic: str | None = None,
        search: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return a page of the recordings that match all filters, newest first.

        ``since`` is inclusive, ``until`` exclusive; a date means the start of its day in UTC. ``name`` is any part of
        the file's name, ``search`` words of the transcript as in :meth:`search_transcripts`, the others match exactly.
        ``after`` is the previous page's ``next``; rows stored in the meantime do not shift the pages.
        Raises InvalidSearch.
        """
        position = read_cursor("calls", after, 1)
        filters: dict[str, Any] = {
            "since": _instant(since, "since"),
            "until": _instant(until, "until"),
            "status": searched(status),
            "path": searched(path),
            "name": searched(name),
            "topic": searched(topic),
            "query": None if search is None else self._prefix_query(search),
        }
        session = {"agent": agent, "consultation_type": consultation_type, "analysis_status": analysis_status}
        values = filters | {field: searched(value) for field, value in session.items()} | _after_call(position)
        values = self.scope.values(values)
        # One more than asked for: whether it is there tells whether there is a next page.
        values["limit"] = check_limit(limit) + 1
        # A search without words, such as "?!": no call holds what was not asked for.
        if not values["query"] and search is not None:
            return Page([], None)
        if search is None:
            rows = self.postgres.execute_query(SQL.text("find_calls", conditions=self._conditions(values)), values)
        else:
            with self._by_index():
                rows = self._calls_that_say(values)
        return make_page("calls", rows, limit, ["id"])

    afind_calls = as_async(find_calls)

    def search_transcripts(
        self, query: str, after: str | None = None, limit: int = 50, *, snippets: bool = False
    ) -> Page:
        """Return a page of the utterances that contain all words of ``query``, newest first.

        A word matches all that start with it, in either case: 배송 finds 배송이. Words between double quotes must
        follow each other. Any text is a valid query; without words it finds nothing. Each row has source, id,
        audio_file_id (None if the recording is unknown), file_name, speaker, speaker_role, start_time, end_time, text,
        created_at, and with ``snippets`` an excerpt with the words found between « and ». Pages as in
        :meth:`find_calls`.
        """
        position = read_cursor("said", after, 2) or NEWEST
        most = check_limit(limit) + 1
        words = self._prefix_query(query)
        if not words:
            return Page([], None)
        with self._by_index():
            rows = Said(self.postgres, words, self.scope).page(position, most)
            if snippets:
                self._add_snippets(rows[:limit], words)
        return make_page("said", rows, limit, ["id", "source_number"])

    asearch_transcripts = as_async(search_transcripts)

    def _calls_that_say(self, values: dict[str, Any]) -> list[Row]:
        """Return the newest recordings that match all filters and have the words of ``query`` said in them.

        The list is walked in steps: each takes the next recordings that match the other filters and asks which of
        them have the words. What the steps leave of the page is searched for at once, since few recordings have words
        that so many lacked.
        """
        most = values["limit"]
        found: list[int] = []
        position: dict[str, Any] = {}
        for step in self._steps(values["query"]):
            query = SQL.text("next_calls", conditions=self._conditions(values | {"query": None} | position))
            calls = self.postgres.execute_query(query, values | position | {"limit": step.calls * most})
            found += self._saying(step.query, calls, values["query"])
            if len(found) >= most or len(calls) < step.calls * most:
                return self._calls(found[:most])
            position = {"after_time": moment(calls[-1]), "after_id": calls[-1]["id"]}
        rest = values | position | {"limit": most - len(found)}
        query = SQL.text("find_calls", conditions=self._conditions(rest))
        return self._calls(found) + self.postgres.execute_query(query, rest)

    def _conditions(self, values: Mapping[str, Any]) -> Composed:
        """Return the scope's and those of the given filters only, so that the planner can use the index of each."""
        used = [name for name, given in FILTERS.items() if any(values[value] is not None for value in given)]
        return Composed(" and ".join([self.scope.condition("a.id"), *(CONDITIONS[name] for name in used)]))

    def _steps(self, words: str) -> Sequence[Step]:
        values = {"query": words, "rows": SAMPLED_ROWS}
        frequency = self.postgres.execute_query(SQL["frequency"], values, fetch="val")
        return STEPS_OF_FREQUENT_WORDS if frequency >= FREQUENT else STEPS_OF_RARE_WORDS

    def _saying(self, query: str, calls: Sequence[Row], words: str) -> list[int]:
        """Return the ids of those recordings in which the words were said, in the order of the recordings."""
        ids: list[int] = [call["id"] for call in calls]
        range_of_ids = {"lowest": min(ids, default=0), "highest": max(ids, default=0)}
        values = range_of_ids | {"ids": ids, "paths": [call["file_path"] for call in calls], "query": words}
        saying = {row["id"] for row in self.postgres.execute_query(SQL[query], values)}
        return [call for call in ids if call in saying]

    def _calls(self, ids: Sequence[int]) -> list[Row]:
        values = self.scope.values({"ids": list(ids), "limit": len(ids)})
        conditions = Composed(f"{self.scope.condition('a.id')} and {CONDITIONS['calls_ids']}")
        return self.postgres.execute_query(SQL.text("find_calls", conditions=conditions), values)

    def _add_snippets(self, rows: Sequence[Row], words: str) -> None:
        values = {"texts": [row["text"] for row in rows], "query": words}
        for row, excerpt in zip(rows, self.postgres.execute_query(SQL["snippets"], values), strict=True):
            row["snippet"] = excerpt["snippet"]

    @contextmanager
    def _by_index(self) -> Iterator[None]:
        """Let what is run inside use indexes, also for tables of which the planner has no statistics yet.

        Disabling plan types inflates the cost estimate, which would trigger JIT and parallel workers; to compile or to
        start them takes longer than the query.
        """
        with self.postgres.transaction():
            self.postgres.execute_query(SQL["by_index"], fetch="none")
            yield
            self.postgres.execute_query(SQL["by_any_plan"], fetch="none")

    def _prefix_query(self, text: str) -> str:
        plain, *others = PHRASE.split(_searchable(text))
        value = {"text": " ".join([plain, *others[1::2]]), "phrases": others[::2]}
        return str(self.postgres.execute_query(SQL["prefix_query"], value, fetch="val"))


def _after_call(position: Position | None) -> dict[str, Any]:
    if position is None:
        return {"after_time": None, "after_id": None}
    return {"after_time": position.time, "after_id": position.numbers[0]}


def _instant(moment: Any, name: str) -> datetime | None:
    if moment is None:
        return None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        return datetime.combine(moment, time(), UTC)
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidSearch(f"{name}: must be a date, or a datetime with a time zone")
    return moment


def _searchable(text: Any) -> str:
    """Return a text in composed form (NFC), as keyboards and speech recognition write it, with a space for what
    PostgreSQL can't hold: names of files that come from macOS, and what is copied of them, hold Hangul in parts (NFD).
    """
    if not isinstance(text, str):
        raise InvalidSearch("what is looked for must be text")
    return unicodedata.normalize("NFC", replaced(text[:LONGEST_SEARCH], " "))
