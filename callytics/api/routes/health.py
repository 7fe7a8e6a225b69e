"""Routes for load balancers and supervisors: is the process alive, and can it use its database?"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from callytics import __version__
from callytics.api import problems, service
from callytics.api.telemetry.state import Healthy
from callytics.exceptions import CallyticsError

router = APIRouter(tags=["service"])


class Alive(BaseModel):
    """The process answers, which says nothing about the database."""

    status: str = Field(default="alive", examples=["alive"])
    version: str = Field(default=__version__, examples=[__version__])


@router.get("/health", summary="Check the database", response_model=Healthy, responses=problems.declared(503))
async def health(request: Request) -> Healthy | JSONResponse:
    """Check the database: 200 if the service can use it, otherwise 503 with the reason within 2 seconds.

    Nothing is cached, so the answer is 200 again as soon as the database is back.
    """
    probe = service.of(request).probe
    try:
        return await probe.ask()
    except CallyticsError as error:
        return problems.response(request, 503, str(error), headers={"Retry-After": "5"})


@router.get("/health/live", summary="Check that the process answers")
async def live() -> Alive:
    """Answer 200 as long as the process runs, whatever the state of the database."""
    return Alive()
