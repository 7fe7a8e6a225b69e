"""Finding calls by their properties and by what was said in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, time
from typing import Any

from callytics.calls.finding.listing import Calls
from callytics.calls.finding.paging import (
    MOST,
    Count,
    Page,
    Position,
    check_limit,
    counted,
    make_page,
    read_cursor,
    searched,
)
from callytics.calls.finding.seen import look_up
from callytics.calls.finding.windows import NEWEST, Said
from callytics.calls.finding.words import SQL, Words, read_words
from callytics.calls.store import OnCalls
from callytics.exceptions import InvalidSearch
from callytics.postgres import Row
from callytics.postgres.as_async import as_async


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
        }
        session = {"agent": agent, "consultation_type": consultation_type, "analysis_status": analysis_status}
        values = filters | {field: searched(value) for field, value in session.items()} | _after_call(position)
        # One more than asked for: whether it is there tells whether there is a next page.
        values["limit"] = check_limit(limit) + 1
        words = None if search is None else read_words(self.postgres, search)
        # A search without words, such as "?!": no call holds what was not asked for.
        if words is not None and not words:
            return Page([], None)
        with nullcontext() if search is None else self._by_index():
            rows = Calls(self.postgres, look_up(self.postgres, self.scope), words).page(values)
        return make_page("calls", rows, limit, ["id"])

    afind_calls = as_async(find_calls)

    def search_transcripts(
        self, query: str, after: str | None = None, limit: int = 50, *, snippets: bool = False
    ) -> Page:
        """Return a page of the utterances that contain all words of ``query``, newest first.

        A word matches all that start with it, in either case: 배송 finds 배송이. A Korean word of two or more syllables
        also matches those in which it stands, 결제 소액결제가, where the optional migration search-inside-words is
        applied. Words between double quotes must follow each other; with a number after them, "요금 할인"~3, at most so
        many others may be between each two of them, in either order, and more than ten count as ten. Any text is a
        valid query, without words it finds nothing; raises InvalidSearch for more than 32 words. Each row has source,
        id, audio_file_id (None if the recording is unknown), file_name, speaker,
        speaker_role, start_time, end_time, text, created_at, and with ``snippets`` an excerpt with the words found
        between « and ». Pages as in :meth:`find_calls`.
        """
        position = read_cursor("said", after, 2) or NEWEST
        most = check_limit(limit) + 1
        words = read_words(self.postgres, query)
        if not words:
            return Page([], None)
        with self._by_index():
            rows = Said(self.postgres, words, look_up(self.postgres, self.scope)).page(position, most)
            if snippets:
                self._add_snippets(rows[:limit], words)
        return make_page("said", rows, limit, ["id", "source_number"])

    asearch_transcripts = as_async(search_transcripts)

    def count_calls(self, /, **filters: Any) -> Count:
        """Return how many calls match the filters of :meth:`find_calls`, exactly up to 500."""
        return counted(self.find_calls(**filters, limit=MOST))

    acount_calls = as_async(count_calls)

    def count_transcripts(self, query: str) -> Count:
        """Return how many utterances :meth:`search_transcripts` finds, exactly up to 500."""
        return counted(self.search_transcripts(query, limit=MOST))

    acount_transcripts = as_async(count_transcripts)

    def _add_snippets(self, rows: Sequence[Row], words: Words) -> None:
        values = words.values() | {"texts": [row["text"] for row in rows], "query": words.marked}
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
