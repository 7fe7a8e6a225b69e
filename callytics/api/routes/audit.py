"""The route by which the audit trail is read."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from callytics.agents.trail import MOST, Asked
from callytics.api import problems, service
from callytics.api.guards import permits
from callytics.api.guards.text import Moment, Text, instant
from callytics.api.routes.links import LINK, link
from callytics.calls.fields import LARGEST

router = APIRouter(
    tags=["audit"],
    route_class=permits.permitted("supervisor", "read"),
    dependencies=[Depends(permits.BEARER)],
    responses=problems.declared(401, 403),
)
Word = Annotated[Text, Field(min_length=1, max_length=256)]


class EntryFilter(BaseModel):
    """Which entries to return: those that match every filter."""

    model_config = ConfigDict(extra="forbid")

    agent: Word | None = Field(
        default=None, description="The username of who did it, or whose account it was done to", examples=["kim"]
    )
    action: Word | None = Field(
        default=None, description="An action, or what several begin with before a dot", examples=["call.read"]
    )
    call: int | None = Field(default=None, ge=1, le=LARGEST, description="A recording that was shown or stored")
    since: Moment | None = Field(
        default=None, description="Then or later; a time must have a zone", examples=["2026-11-01"]
    )
    until: Moment | None = Field(default=None, description="Earlier; a time must have a zone")
    after: Annotated[Text, Field(max_length=1000, description="The previous page's `next`")] | None = None
    limit: Annotated[int, Field(ge=1, le=MOST, description="Rows per page")] = 50


class EntryView(BaseModel):
    """One thing that was done."""

    id: int = Field(examples=[1])
    created_at: datetime.datetime
    action: str = Field(examples=["call.read"])
    outcome: str = Field(description="done, refused, or absent: there was no such call to see", examples=["done"])
    agent_id: int | None = Field(description="Who did it; null for strangers and the command line", examples=[7])
    agent: str | None = Field(description="Their username, as long as there is the account", examples=["kim"])
    subject_id: int | None = Field(description="Whose account it was done to", examples=[None])
    subject: str | None = Field(examples=[None])
    calls: list[int] | None = Field(description="The recordings that were shown or stored", examples=[[1]])
    request_id: str | None = Field(description="The answer's X-Request-ID")
    ip_address: str | None = Field(examples=["192.0.2.7"])
    details: dict[str, Any] | None = Field(examples=[None])


class Trail(BaseModel):
    """A page of the audit trail, the newest first."""

    entries: list[EntryView]
    next: str | None = Field(description="The next page's `after`; null at the end")


@router.get("/audit", summary="Read the audit trail", responses=LINK)
async def read(request: Request, response: Response, wanted: Annotated[EntryFilter, Query()]) -> Trail:
    """Return a page of who did what, and who saw which call."""
    given = wanted.model_dump() | {"since": instant(wanted.since), "until": instant(wanted.until)}
    page = await service.of(request).noting.trail.afind(Asked(**given))
    link(request, response, page.next)
    return Trail(entries=[EntryView(**row) for row in page.rows], next=page.next)
