"""Is the service alive, and does it have its database?"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from callytics import __version__
from callytics.api import problems, service
from callytics.api.state import Healthy
from callytics.exceptions import CallyticsError

router = APIRouter(tags=["service"])


class Alive(BaseModel):
    """The process answers; of the database this says nothing."""

    status: str = Field(default="alive", examples=["alive"])
    version: str = Field(default=__version__, examples=[__version__])


@router.get("/health", summary="Ask for the database", response_model=Healthy, responses=problems.declared(503))
async def health(request: Request) -> Healthy | JSONResponse:
    """Tell whether the service has its database: 200, or within 2 seconds 503 with a reason.

    It is asked anew each time, so the answer is 200 again as soon as the database is back.
    """
    probe = service.of(request).probe
    try:
        return await probe.ask()
    except CallyticsError as error:
        return problems.response(request, 503, str(error), headers={"Retry-After": "5"})


@router.get("/health/live", summary="Ask whether the process answers")
async def live() -> Alive:
    """Tell that the process answers, whatever the database does."""
    return Alive()
