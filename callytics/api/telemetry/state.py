"""The health of the service and its database, and row counts: asked once, shared by all who ask at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, Field

from callytics import __version__
from callytics.exceptions import CallyticsError
from callytics.postgres import PostgreSQLManager
from callytics.postgres.pool.cancelling import look
from callytics.postgres.sql import Composed, Queries, quote
from callytics.postgres.standbys import Reads

SQL = Queries(Path(__file__).with_name("state.sql"))
# The promise is 2 seconds; the rest is for the answer to travel.
SECONDS = 1.8
# Beyond this the planner's estimate is used: an exact count scans the whole table.
COUNTED_ROWS = 10_000
# The tables are counted no more often than this, however many people look at the page.
COUNT_SECONDS = 10.0

Result = TypeVar("Result")


class PoolState(BaseModel):
    """The pool of connections to the database."""

    size: int = Field(description="Connections that are open", examples=[5])
    in_use: int = Field(examples=[1])
    idle: int = Field(examples=[4])
    waiting: int = Field(description="Callers waiting for a connection", examples=[0])


class StandbyState(BaseModel):
    """A standby that is read from, in the order of POSTGRES_READ_HOST."""

    state: str = Field(
        description="ready, behind, apart (other data, or a failover not noted yet), away (out of reach, or no "
        "standby) or unknown; at the last read",
        examples=["ready"],
    )
    lag_seconds: float | None = Field(description="At most, at the last read; null: unknown", examples=[0.0])


class Healthy(BaseModel):
    """The service can use its database."""

    status: str = Field(default="healthy", examples=["healthy"])
    version: str = Field(default=__version__, description="Of Callytics", examples=[__version__])
    database_version: str = Field(examples=["15.14"])
    schema_version: str = Field(description="The last migration that was applied", examples=["0050.agent-sessions"])
    latency_ms: float = Field(description="Until the database answered", examples=[0.7])
    pool: PoolState
    standbys: list[StandbyState] = Field(default_factory=list, description="Those that are read from")


class TableRows(BaseModel):
    """How many rows a table has."""

    name: str = Field(examples=["audio_files"])
    rows: int = Field(examples=[1200])
    exact: bool = Field(description="Counted; false: estimated", examples=[True])


class Verdict(BaseModel):
    """How an import ended."""

    id: int = Field(examples=[1])
    verdict: str = Field(
        description="verified, rejects (verified, some rows rejected), different, running or undone",
        examples=["verified"],
    )
    started_at: datetime
    finished_at: datetime | None = None


class Counts(BaseModel):
    """What is in the database."""

    counted_at: datetime
    tables: list[TableRows]
    last_import: Verdict | None = None


class Unhealthy(CallyticsError):
    """The database can't be used; the message says why, naming no host, role or password."""


class Shared(Generic[Result]):
    """The result of some work, shared by all who ask while it runs and until ``seconds`` after it started."""

    def __init__(self, work: Callable[[], Awaitable[Result]], seconds: float = 0.0) -> None:
        self.work = work
        self.seconds = seconds
        self._task: asyncio.Future[Result] | None = None
        self._started = 0.0

    async def get(self) -> Result:
        """Return the result. Errors are not cached; cancelling one caller does not cancel the work for the others."""
        if self._task is None or self._is_old(self._task):
            self._task = asyncio.ensure_future(self.work())
            # If every caller has gone, nobody retrieves its error, which asyncio would log with its message.
            self._task.add_done_callback(look)
            self._started = time.monotonic()
        return await asyncio.shield(self._task)

    def _is_old(self, task: asyncio.Future[Result]) -> bool:
        if not task.done():
            return False
        failed = task.cancelled() or task.exception() is not None
        return failed or time.monotonic() - self._started >= self.seconds


class Probe:
    """Checks the database's health, with one query at a time."""

    def __init__(self, postgres: PostgreSQLManager, reads: Reads) -> None:
        self.postgres, self.reads = postgres, reads
        self.shared = Shared(self._ask)

    async def ask(self) -> Healthy:
        """Return the database's health; raise Unhealthy within 2 seconds if it is unavailable or hangs."""
        try:
            # Around this caller's wait: when it ends, the look goes on for the others.
            async with asyncio.timeout(SECONDS):
                return await self.shared.get()
        except TimeoutError:
            raise Unhealthy("the database does not answer") from None

    async def _ask(self) -> Healthy:
        health = await self.postgres.ahealth_check()
        if health.status != "healthy":
            raise Unhealthy(health.reason or "the database can't be used")
        try:
            schema_version = await self.postgres.aexecute_query(SQL["schema_version"], fetch="val")
        except CallyticsError:
            raise Unhealthy("the database was lost while it was asked, or has no schema") from None
        return Healthy(
            # Debian appends its own version: "15.14 (Debian 15.14-0+deb12u1)".
            database_version=health.server_version.partition(" ")[0],
            schema_version=schema_version or "none",
            latency_ms=round(health.latency_ms, 2),
            pool=PoolState(size=health.size, in_use=health.in_use, idle=health.idle, waiting=health.waiting),
            standbys=[StandbyState(state=one.state, lag_seconds=one.lag) for one in self.reads.standbys],
        )


class Counting:
    """Counts the rows of the database's tables."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        self.shared = Shared(self._count, COUNT_SECONDS)

    async def _count(self) -> Counts:
        return await self.reads.read(lambda postgres: postgres.in_thread(_counted, postgres))


def _counted(postgres: PostgreSQLManager) -> Counts:
    last = postgres.execute_query(SQL["last_import"], fetch="one")
    return Counts(
        counted_at=datetime.now(UTC),
        tables=[_rows(postgres, **table) for table in postgres.execute_query(SQL["tables"])],
        last_import=Verdict(**last) if last else None,
    )


def _rows(postgres: PostgreSQLManager, name: str, estimate: int) -> TableRows:
    query = SQL.text("count", table=Composed(f"public.{quote(name)}"))
    counted: int = postgres.execute_query(query, (COUNTED_ROWS,), fetch="val")
    # The query stops counting there.
    exact = counted < COUNTED_ROWS
    return TableRows(name=name, rows=counted if exact else max(counted, estimate), exact=exact)
