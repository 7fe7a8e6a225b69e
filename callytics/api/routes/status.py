"""The state of the service as anybody may see it, without logging in."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from callytics import __version__
from callytics.api import service
from callytics.api.guards import permits
from callytics.api.telemetry.glance import Item
from callytics.api.telemetry.state import Counts, PoolState, Unhealthy
from callytics.exceptions import CallyticsError

router = APIRouter(tags=["service"], route_class=permits.Bounded)


class State(BaseModel):
    """Whether the service can use its database; if not, only the version is known."""

    status: str = Field(examples=["healthy"])
    reason: str | None = Field(default=None, description="Why it is unhealthy")
    version: str = Field(default=__version__, examples=[__version__])
    database_version: str | None = Field(default=None, examples=["15.14"])
    schema_version: str | None = Field(default=None, examples=["0050.agent-sessions"])
    latency_ms: float | None = Field(default=None, examples=[0.7])
    pool: PoolState | None = None


class Status(BaseModel):
    """The state of the service and its data. Without the database ``counts`` is null and ``parts`` is empty."""

    service: State
    parts: list[Item] = Field(default_factory=list, description="What an operator asks first")
    counts: Counts | None = None


@router.get("/status", summary="Read the state of things")
async def status(request: Request) -> Status:
    """Return what needs no login: whether the service is healthy, rows by table, and how the last import ended."""
    ours = service.of(request)
    try:
        healthy = await ours.probe.ask()
        counts = await ours.counting.shared.get()
        parts = await ours.glance.items.get()
    except CallyticsError as error:
        # Everybody reads this, and other errors of ours name hosts and roles.
        reason = str(error) if isinstance(error, Unhealthy) else "the database can't be used"
        return Status(service=State(status="unhealthy", reason=reason))
    return Status(service=State(**healthy.model_dump()), parts=parts, counts=counts)
