"""Is the service alive, and does it have its database?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg2
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from callytics import __version__
from callytics.api import problems
from callytics.exceptions import CallyticsError
from callytics.postgres import PostgreSQLManager
from callytics.postgres.sql import queries

SQL = queries(Path(__file__).with_name("status.sql"))
# The promise is 2 seconds.
SECONDS = 1.8

router = APIRouter(tags=["service"])


class PoolState(BaseModel):
    """The pool of connections to the database."""

    size: int = Field(description="Connections that are open", examples=[5])
    in_use: int = Field(examples=[1])
    idle: int = Field(examples=[4])
    waiting: int = Field(description="Callers that wait for a connection", examples=[0])


class Healthy(BaseModel):
    """The service has its database."""

    status: str = Field(default="healthy", examples=["healthy"])
    version: str = Field(default=__version__, description="Of Callytics", examples=[__version__])
    database_version: str = Field(examples=["15.14"])
    schema_version: str = Field(description="The last migration that was applied", examples=["0050.agent-sessions"])
    latency_ms: float = Field(description="Until the database answered", examples=[0.7])
    pool: PoolState


class Alive(BaseModel):
    """The process answers; of the database this says nothing."""

    status: str = Field(default="alive", examples=["alive"])
    version: str = Field(default=__version__, examples=[__version__])


class Unhealthy(CallyticsError):
    """The database can't be used; the message says why, naming no host, role or password."""


class Probe:
    """Asks the database how it is, for everybody who wants to know at once: many askers take one connection."""

    def __init__(self, postgres: PostgreSQLManager) -> None:
        self.postgres = postgres
        self._task: asyncio.Task[Healthy] | None = None

    async def ask(self) -> Healthy:
        """Return how the database is; raise Unhealthy within 2 seconds where it is away or hangs."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask())
            self._task.add_done_callback(_looked_at)
        await asyncio.wait((self._task,), timeout=SECONDS)
        if not self._task.done():
            raise Unhealthy("the database does not answer")
        return self._task.result()

    async def _ask(self) -> Healthy:
        health = await self.postgres.ahealth_check()
        if health.status != "healthy":
            raise Unhealthy(health.reason or "the database can't be used")
        try:
            schema_version = await self.postgres.aexecute_query(SQL["schema_version"], fetch="val")
        except (CallyticsError, psycopg2.Error):
            raise Unhealthy("the database was lost while it was asked, or has no schema") from None
        return Healthy(
            # Without the packager's words.
            database_version=health.server_version.partition(" ")[0],
            schema_version=schema_version or "none",
            latency_ms=round(health.latency_ms, 2),
            pool=PoolState(size=health.size, in_use=health.in_use, idle=health.idle, waiting=health.waiting),
        )


def _looked_at(task: asyncio.Task[Healthy]) -> None:
    """Look at an error that nobody may have waited for."""
    if not task.cancelled():
        task.exception()


@router.get("/health", response_model=Healthy, responses=problems.declared(503))
async def health(request: Request) -> Healthy | JSONResponse:
    """Tell whether the service has its database: 200, or within 2 seconds 503 with a reason.

    It is asked anew each time, so the answer is 200 again as soon as the database is back.
    """
    probe: Probe = request.app.state.service.probe
    try:
        return await probe.ask()
    except CallyticsError as error:
        return problems.response(request, 503, str(error), headers={"Retry-After": "5"})


@router.get("/health/live")
async def live() -> Alive:
    """Tell that the process answers, whatever the database does."""
    return Alive()
