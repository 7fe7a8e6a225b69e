"""What an operator asks first: backups, the trial of one, alerts, replication, and how the data grows.

Everybody may read it, so it has times and counts, but no name of a host, a file or a role.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from callytics.api.telemetry.state import Probe, Shared
from callytics.exceptions import CallyticsError
from callytics.postgres.sql import Queries
from callytics.postgres.standbys import Reads
from callytics.status import overview, top
from callytics.status.asking import NoAnswer, firing

SQL = Queries(Path(__file__).with_name("glance.sql"))
# None of it changes by the second, however many people look at the page.
GLANCE_SECONDS, GROWTH_SECONDS = 15.0, 600.0
MONTHS = 12
SPOKEN = ["transcriptions", "utterances"]
# The page comes all the same, without its charts.
WAIT_SECONDS = 1.5


class Item(BaseModel):
    """How one part of the installation is."""

    subject: str = Field(examples=["backup"])
    level: str = Field(description="ok, none (there is no such part), warning or error", examples=["ok"])
    state: str = Field(description="What it is like, in a word", examples=["there"])
    at: datetime | None = Field(default=None, description="When it was last done")
    count: int | None = Field(default=None, description="How many: alerts, standbys, months", examples=[3])
    seconds: float | None = Field(default=None, description="How long a restore took", examples=[41.5])


class Month(BaseModel):
    """How much one month has brought, as the statistics of its partitions tell."""

    month: str = Field(examples=["2026-11"])
    rows: int
    bytes: int


class Glance:
    """Asks all of it, once for everybody who asks at the same time."""

    def __init__(self, reads: Reads, prometheus: str | None) -> None:
        # Backups, standbys and archiving are the primary's to tell.
        self.postgres, self.reads, self.prometheus = reads.primary, reads, prometheus
        self.items = Shared(self._items, GLANCE_SECONDS)
        self.growth = Shared(self._growth, GROWTH_SECONDS)

    async def _items(self) -> list[Item]:
        return await self.postgres.in_thread(self._items_now)

    def _items_now(self) -> list[Item]:
        return [item for subject, part in self._parts().items() for item in self._told(subject, part)]

    def _told(self, subject: str, part: Callable[[], Iterator[Item]]) -> list[Item]:
        try:
            return list(part())
        except CallyticsError:
            # The login may lack a right, or the database has gone meanwhile, which its own line says.
            return [Item(subject=subject, level="none", state="unknown")]

    async def _growth(self) -> list[Month]:
        asked = {"months": MONTHS, "spoken": SPOKEN}
        rows = await self.reads.read(lambda postgres: postgres.aexecute_query(SQL["growth"], asked))
        return [Month(**row) for row in rows]

    def _parts(self) -> dict[str, Callable[[], Iterator[Item]]]:
        return {
            "backup": self._backups,
            "alerts": self._alerts,
            "replication": self._replication,
            "archiving": self._archiving,
            "partitions": self._partitions,
        }

    def _one(self, queries: Queries, name: str) -> dict[str, Any] | None:
        row: dict[str, Any] | None = self.postgres.execute_query(queries[name], fetch="one")
        return row

    def _backups(self) -> Iterator[Item]:
        if not self.postgres.execute_query(overview.SQL["has_backups"], fetch="val"):
            yield from (Item(subject=subject, level="none", state="unknown") for subject in ("backup", "drill"))
            return
        backup = self._one(overview.SQL, "backup")
        level = overview.backup_line(backup).level
        made = backup["at"] if backup else None
        yield Item(subject="backup", level=level, state="there" if backup else "missing", at=made)
        drill = self._one(overview.SQL, "drill")
        state = "missing" if drill is None else "passed" if drill["passed"] else "failed"
        seen = {"at": drill["at"], "seconds": drill["rto_seconds"]} if drill else {}
        yield Item(subject="drill", level=overview.drill_line(drill).level, state=state, **seen)

    def _alerts(self) -> Iterator[Item]:
        if self.prometheus is None:
            yield Item(subject="alerts", level="none", state="unwatched")
            return
        try:
            found = firing(self.prometheus)
        except NoAnswer:
            yield Item(subject="alerts", level="error", state="silent")
            return
        critical = any(alert["severity"] == "critical" for alert in found)
        level = "error" if critical else "warning" if found else "ok"
        yield Item(subject="alerts", level=level, state="firing" if found else "quiet", count=len(found))

    def _replication(self) -> Iterator[Item]:
        standbys = len(self.postgres.execute_query(top.SQL["standbys"]))
        lost = [row for row in self.postgres.execute_query(top.SQL["slots"]) if not row["active"]]
        if lost:
            yield Item(subject="replication", level="warning", state="waiting", count=len(lost))
        elif standbys:
            yield Item(subject="replication", level="ok", state="connected", count=standbys)
        else:
            yield Item(subject="replication", level="none", state="none")

    def _archiving(self) -> Iterator[Item]:
        row = self._one(top.SQL, "archiving")
        if not row or row["mode"] == "off":
            yield Item(subject="archiving", level="none", state="off")
        elif row["failing"]:
            yield Item(subject="archiving", level="error", state="failing", at=row["failed_at"])
        else:
            state = "working" if row["archived_at"] else "nothing"
            yield Item(subject="archiving", level="ok", state=state, at=row["archived_at"])

    def _partitions(self) -> Iterator[Item]:
        months = self.postgres.execute_query(overview.SQL["months_ahead"], fetch="val")
        if months is not None:
            state = "missing" if months < 0 else "ahead"
            level = "ok" if months > 0 else "warning"
            yield Item(subject="partitions", level=level, state=state, count=max(months, 0))


async def grown(glance: Glance, probe: Probe) -> list[Month]:
    """Return the months; none where the database can't be asked, which the page says elsewhere."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await probe.ask()
            return await glance.growth.get()
    except (CallyticsError, TimeoutError):
        return []
