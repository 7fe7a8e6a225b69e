"""What anybody may see of the state of things, and the page that shows it."""

from __future__ import annotations

import psycopg2
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from callytics import __version__
from callytics.api import permits, service
from callytics.api.state import Counts, PoolState
from callytics.exceptions import CallyticsError

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


class Status(BaseModel):
    """The state of things. ``counts`` is missing while the database is away."""

    service: State
    counts: Counts | None = None


@router.get("/status", summary="Read the state of things")
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
