"""The audit trail: who did what, and who saw which call; entries are added and never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from psycopg.types.json import Jsonb

from callytics.agents.names import looked_up
from callytics.exceptions import InvalidSearch
from callytics.postgres import PostgreSQLManager
from callytics.postgres.as_async import as_async
from callytics.postgres.sql import Composed, Queries

SQL = Queries(Path(__file__).with_suffix(".sql"))
MOST = 500
# By the parameter that each needs.
CONDITIONS = {
    "agent_id": "%(agent_id)s in (l.agent_id, l.subject_id)",
    "action": "(l.action = %(action)s or starts_with(l.action, %(action)s || '.'))",
    "call": "l.calls @> array[%(call)s::bigint]",
    "since": "l.created_at >= %(since)s",
    "until": "l.created_at < %(until)s",
    "after": "l.id < %(after)s",
}

Outcome = Literal["done", "refused", "absent"]


@dataclass(frozen=True)
class Entry:
    """What is added to the trail. ``calls`` are the recordings that were shown or stored; no content of any."""

    action: str
    outcome: Outcome = "done"
    agent_id: int | None = None
    calls: Sequence[int] | None = None
    request_id: str | None = None
    ip_address: str | None = None
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Asked:
    """Which entries to return: those that match every filter. Times have a zone; ``after`` is a page's ``next``.

    ``agent`` is a username, of who did it or whose account it was done to; ``action`` is one, or what several begin
    with before a dot.
    """

    agent: str | None = None
    action: str | None = None
    call: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: str | None = None
    limit: int = 50


@dataclass(frozen=True)
class Entries:
    """A page of the trail, the newest first, and what the next one begins after; None at the end."""

    rows: list[dict[str, Any]]
    next: str | None


class Trail:
    """Writes and reads the trail. Nobody changes it: the application's role may add rows and no more."""

    def __init__(self, postgres: PostgreSQLManager) -> None:
        self._postgres = postgres

    @property
    def postgres(self) -> PostgreSQLManager:
        """The manager on which all of this works."""
        return self._postgres

    def note(self, *entries: Entry) -> None:
        """Add entries, in the open transaction if there is one: they stand and fall with what they tell of."""
        self.postgres.execute_query(SQL["note"], _noted(entries), fetch="none")

    async def anote(self, *entries: Entry) -> None:
        """Add entries as `note` does."""
        await self.postgres.aexecute_query(SQL["note"], _noted(entries), fetch="none")

    def find(self, asked: Asked) -> Entries:
        """Return a page of entries; raise InvalidSearch for a limit or an ``after`` that can't be."""
        if not 1 <= asked.limit <= MOST:
            raise InvalidSearch(f"limit: must be a whole number between 1 and {MOST}")
        values = {**asdict(asked), "after": _position(asked.after), "limit": asked.limit + 1, "agent_id": None}
        if asked.agent is not None:
            values["agent_id"] = self.postgres.execute_query(SQL["agent"], looked_up(asked.agent), fetch="val")
            if values["agent_id"] is None:
                return Entries([], None)
        # Only the filters that are given, so that the planner can use the index of each.
        used = [condition for name, condition in CONDITIONS.items() if values[name] is not None]
        query = SQL.text("find", conditions=Composed(" and ".join(used) or "true"))
        rows = self.postgres.execute_query(query, values)
        page = rows[: asked.limit]
        return Entries(page, str(page[-1]["id"]) if len(rows) > asked.limit else None)

    afind = as_async(find)


def _noted(entries: Sequence[Entry]) -> Mapping[str, Any]:
    return {"entries": Jsonb([asdict(entry) for entry in entries])}


def _position(after: str | None) -> int | None:
    if after is None:
        return None
    # A cursor comes back from the client, who may have made it up.
    if not (after.isascii() and after.isdigit() and int(after[:19]) < 2**63 and len(after) < 20):
        raise InvalidSearch("after: is not what 'next' of a page of this list held")
    return int(after)
