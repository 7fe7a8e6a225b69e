"""Finding calls by their properties and by what was said in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from psycopg2 import sql

from callytics.calls.paging import Page, Position, check_limit, make_page, read_cursor, searched
from callytics.calls.store import OnCalls
from callytics.exceptions import InvalidSearch
from callytics.postgres import Row
from callytics.postgres.as_async import as_async
from callytics.postgres.sql import Queries
from callytics.postgres.text import replaced

SQL = Queries(Path(__file__).with_name("search.sql"))
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
        # One more than asked for: whether it is there tells whether there is a next page.
        values["limit"] = check_limit(limit) + 1
        # A search without words, such as "?!": no call holds what was not asked for.
        if not values["query"] and search is not None:
            return Page([], None)
        query = SQL.text("find_calls", conditions=_conditions(values))
        rows = self._by_index(query, values) if search is not None else self.postgres.execute_query(query, values)
        return make_page("calls", rows, limit, ["id"])

    afind_calls = as_async(find_calls)

    def search_transcripts(
        self, query: str, after: str | None = None, limit: int = 50, *, snippets: bool = False
    ) -> Page:
        """Return a page of the utterances that contain all words of ``query``, newest first.

        A word matches all that start with it, in either case: 배송 finds 배송이. Any text is a valid query; without
        words it finds nothing. Each row has source, id, audio_file_id (None if the recording is unknown),
        file_name, speaker, speaker_role, start_time, end_time, text, created_at, and with ``snippets`` an excerpt with
        the words found between « and ». Pages as in :meth:`find_calls`.
        """
        position = read_cursor("transcripts", after, 2) or Position("infinity", (0, 0))
        words = self._prefix_query(query)
        values = {
            "query": words,
            "snippets": snippets,
            "limit": check_limit(limit) + 1,
            "after_time": position.time,
            "after_source": position.numbers[0],
            "after_id": position.numbers[1],
        }
        rows = self._by_index(SQL["search_transcripts"], values) if words else []
        return make_page("transcripts", rows, limit, ["source_number", "id"])

    asearch_transcripts = as_async(search_transcripts)

    def _by_index(self, query: str | sql.Composable, values: Mapping[str, Any]) -> list[Row]:
        """Run a search by the full-text index, however frequent its words are.

        The planner estimates to_tsvector to be as cheap as an addition, so for a frequent word it would compute it
        again for the whole table, which takes several times as long. Disabling plan types inflates the
        cost estimate, which would trigger JIT; compiling takes longer than the query.
        """
        with self.postgres.transaction():
            self.postgres.execute_query(SQL["by_index"], fetch="none")
            rows = self.postgres.execute_query(query, values)
            self.postgres.execute_query(SQL["by_any_plan"], fetch="none")
        return rows

    def _prefix_query(self, text: str) -> str:
        value = {"text": _searchable(text)}
        return str(self.postgres.execute_query(SQL["prefix_query"], value, fetch="val"))


def _conditions(values: Mapping[str, Any]) -> sql.Composable:
    """Return the conditions of the given filters only, so that the planner can use the index of each."""
    used = [name for name, given in FILTERS.items() if any(values[value] is not None for value in given)]
    return sql.SQL(" and ").join([sql.SQL(CONDITIONS[name]) for name in used] or [sql.SQL("true")])


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
    """Return a text with a space in place of what PostgreSQL can't hold."""
    if not isinstance(text, str):
        raise InvalidSearch("what is looked for must be text")
    return replaced(text[:LONGEST_SEARCH], " ")
