"""What anybody may see of the state of things, and the page that shows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

import psycopg2
from fastapi import APIRouter, Request
from psycopg2 import sql
from pydantic import BaseModel, Field

from callytics import __version__
from callytics.api import permits, service
from callytics.api.health import PoolState
from callytics.exceptions import CallyticsError
from callytics.postgres import PostgreSQLManager
from callytics.postgres.sql import queries

SQL = queries(Path(__file__).with_name("status.sql"))
# Up to here rows are counted; beyond it the planner's estimate will do.
COUNTED_ROWS = 10_000
# However many look at the page, the tables are counted this often at most.
COUNT_SECONDS = 10.0

Result = TypeVar("Result")

router = APIRouter(tags=["service"], route_class=permits.Bounded)


class State(BaseModel):
    """Whether the service has its database; without one only the version is known."""

    status: str = Field(examples=["healthy"])
    reason: str | None = Field(default=None, description="Why it is unhealthy")
    version: str = Field(default=__version__, examples=[__version__])
    database_version: str | None = Field(default=None, examples=["15.14"])
    schema_version: str | None = Field(default=None, examples=["0050.agent-sessions"])
    latency_ms: float | None = Field(default=None, examples=[0.7])
    pool: PoolState | None = None


class TableRows(BaseModel):
    """How many rows a table has."""

    name: str = Field(examples=["audio_files"])
    rows: int = Field(examples=[1200])
    exact: bool = Field(description="Counted; false: estimated", examples=[True])


class Verdict(BaseModel):
    """How an import ended."""

    id: int = Field(examples=[1])
    verdict: str = Field(
        description="verified, rejects (verified, some rows kept aside), different, running or undone",
        examples=["verified"],
    )
    started_at: datetime
    finished_at: datetime | None = None


class Counts(BaseModel):
    """What is in the database."""

    counted_at: datetime
    tables: list[TableRows]
    last_import: Verdict | None = None


class Status(BaseModel):
    """The state of things. ``counts`` is missing while the database is away."""

    service: State
    counts: Counts | None = None


class Shared(Generic[Result]):
    """The result of some work, shared by all who ask while it is under way and for ``seconds`` after it began."""

    def __init__(self, work: Callable[[], Awaitable[Result]], seconds: float) -> None:
        self.work = work
        self.seconds = seconds
        self._task: asyncio.Future[Result] | None = None
        self._started = 0.0

    async def get(self) -> Result:
        """Return the result; an error is not kept."""
        if self._task is None or self._is_old(self._task):
            self._task = asyncio.ensure_future(self.work())
            self._started = time.monotonic()
        return await asyncio.shield(self._task)

    def _is_old(self, task: asyncio.Future[Result]) -> bool:
        if not task.done():
            return False
        failed = task.cancelled() or task.exception() is not None
        return failed or time.monotonic() - self._started > self.seconds


class Counting:
    """Counts what is in the database."""

    def __init__(self, postgres: PostgreSQLManager) -> None:
        self.postgres = postgres
        self.shared = Shared(self._count, COUNT_SECONDS)

    async def _count(self) -> Counts:
        return await self.postgres.in_thread(self._count_now)

    def _count_now(self) -> Counts:
        last = self.postgres.execute_query(SQL["last_import"], fetch="one")
        return Counts(
            counted_at=datetime.now(UTC),
            tables=[self._rows(**table) for table in self.postgres.execute_query(SQL["tables"])],
            last_import=Verdict(**last) if last else None,
        )

    def _rows(self, name: str, estimate: int) -> TableRows:
        query = sql.SQL(SQL["count"]).format(table=sql.Identifier("public", name))
        counted: int = self.postgres.execute_query(query, (COUNTED_ROWS,), fetch="val")
        exact = counted < COUNTED_ROWS
        return TableRows(name=name, rows=counted if exact else max(counted, estimate), exact=exact)


@router.get("/status")
async def status(request: Request) -> Status:
    """Tell what anybody may know: whether the service is well, rows by table, and how the last import ended."""
    ours = service.of(request)
    try:
        healthy = await ours.probe.ask()
        counts = await ours.counting.shared.get()
    except (CallyticsError, psycopg2.Error) as error:
        reason = str(error) if isinstance(error, CallyticsError) else "the database can't be used"
        return Status(service=State(status="unhealthy", reason=reason))
    return Status(service=State(**healthy.model_dump()), counts=counts)
