"""Routes that find calls by their properties and by what was said in them."""

from __future__ import annotations

import datetime
from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from callytics.api import problems, service
from callytics.api.guards import permits
from callytics.api.guards.text import Moment, Text
from callytics.api.routes.links import LINK, link
from callytics.calls.finding.paging import MOST, Count

router = APIRouter(
    tags=["calls"],
    route_class=permits.permitted("analysis_view", "read"),
    dependencies=[Depends(permits.BEARER)],
    responses=problems.declared(401, 403),
)

Word = Annotated[Text, Field(min_length=1, max_length=1000)]
Cursor = Annotated[Text, Field(max_length=1000, description="The previous page's `next`")]
Limit = Annotated[int, Field(ge=1, le=MOST, description="Rows per page")]
Counting = Annotated[bool, Field(description="Whether the answer says how many there are on all pages")]


class CallFilter(BaseModel):
    """Which calls to return: those that match every filter."""

    model_config = ConfigDict(extra="forbid")

    since: Moment | None = Field(
        default=None, description="Stored then or later; a time must have a zone", examples=["2026-11-01"]
    )
    until: Moment | None = Field(default=None, description="Stored earlier; a time must have a zone")
    status: Word | None = Field(default=None, description="Of the recording's processing", examples=["completed"])
    agent: Word | None = Field(default=None, description="Who talked to the customer", examples=["김민수"])
    consultation_type: Word | None = Field(default=None, examples=["billing"])
    analysis_status: Word | None = Field(default=None, examples=["completed"])
    path: Word | None = Field(default=None, description="The recording's, exactly")
    name: Word | None = Field(default=None, description="Any part of the file's name", examples=["0001"])
    topic: Word | None = Field(default=None, description="Exactly")
    search: Word | None = Field(
        default=None, description="Words said; each finds what begins with it", examples=["요금"]
    )
    after: Cursor | None = None
    limit: Limit = 50
    count: Counting = False


class TranscriptFilter(BaseModel):
    """Which parts of transcripts to return."""

    model_config = ConfigDict(extra="forbid")

    search: Word = Field(
        description='Words said, 32 at most; each finds what begins with it, those in "double quotes" must follow each '
        'other, and with "two words"~3 up to three others may be between them, in either order',
        examples=["요금"],
    )
    after: Cursor | None = None
    limit: Limit = 50
    count: Counting = False


class FoundCall(BaseModel):
    """A recording with its newest consultation."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="The audio_file_id", examples=[1])
    file_path: str | None = Field(examples=["/srv/calls/2026/0001.wav"])
    file_name: str = Field(examples=["0001.wav"])
    duration_seconds: float | None = Field(examples=[60.0])
    processing_status: str | None = Field(examples=["completed"])
    created_at: datetime.datetime | None
    topic: str | None
    session_id: int | None = Field(examples=[1])
    session_date: datetime.date | None
    agent_name: str | None = Field(examples=["김민수"])
    customer_id: str | None
    consultation_type: str | None = Field(examples=["billing"])
    analysis_status: str | None = Field(examples=["completed"])
    overall_quality_score: float | None = Field(examples=[0.82])
    customer_satisfaction_score: float | None
    resolution_status: str | None = Field(examples=["resolved"])
    summary: str | None


class Said(BaseModel):
    """An utterance that was found."""

    source: str = Field(description="The table that holds it", examples=["transcriptions"])
    id: int = Field(examples=[1])
    audio_file_id: int | None = Field(description="The recording's id; null if unknown", examples=[1])
    file_name: str | None = Field(examples=["0001.wav"])
    speaker: str | None = Field(examples=["SPEAKER_00"])
    speaker_role: str | None = Field(description="customer or agent", examples=["agent"])
    start_time: float | None = Field(description="Seconds from the beginning", examples=[0.0])
    end_time: float | None = Field(examples=[4.2])
    snippet: str | None = Field(description="The words found are between « and »", examples=["«요금»이 너무 많이"])
    created_at: datetime.datetime | None


class Counted(BaseModel):
    """How many there are on all pages."""

    model_config = ConfigDict(from_attributes=True)

    rows: int = Field(examples=[12])
    exact: bool = Field(description="Counted; false: at least so many, since counting ends at 500")


class Calls(BaseModel):
    """A page of calls, the newest first."""

    calls: list[FoundCall]
    next: str | None = Field(description="The next page's `after`; null at the end")
    count: Counted | None = Field(default=None, description="With `count=true`")


class Transcripts(BaseModel):
    """A page of what was said, the newest first."""

    transcripts: list[Said]
    next: str | None = Field(description="The next page's `after`; null at the end")
    count: Counted | None = Field(default=None, description="With `count=true`")


@router.get("/calls", summary="Find calls", responses=LINK)
async def find_calls(request: Request, response: Response, wanted: Annotated[CallFilter, Query()]) -> Calls:
    """Return a page of calls. Calls stored in the meantime do not shift the pages."""
    ours = service.of(request)
    with ours.metrics.searching("calls") if wanted.search is not None else nullcontext():
        filters = wanted.model_dump(exclude={"count"})
        page = await permits.read(request, lambda calls: calls.afind_calls(**filters))
    counting = {name: filters[name] for name in filters.keys() - {"after", "limit"}}
    count = await permits.read(request, lambda calls: calls.acount_calls(**counting)) if wanted.count else None
    permits.shown(request, (row["id"] for row in page.rows))
    link(request, response, page.next)
    return Calls(calls=[FoundCall(**row) for row in page.rows], next=page.next, count=counted(count))


@router.get("/transcripts", summary="Search transcripts", responses=LINK)
async def search_transcripts(
    request: Request, response: Response, wanted: Annotated[TranscriptFilter, Query()]
) -> Transcripts:
    """Return a page of utterances that contain all the words."""
    asked = (wanted.search, wanted.after, wanted.limit)
    with service.of(request).metrics.searching("transcripts"):
        page = await permits.read(request, lambda calls: calls.asearch_transcripts(*asked, snippets=True))
    count = await permits.read(request, lambda calls: calls.acount_transcripts(wanted.search)) if wanted.count else None
    permits.shown(request, (row["audio_file_id"] for row in page.rows))
    link(request, response, page.next)
    return Transcripts(transcripts=[Said(**row) for row in page.rows], next=page.next, count=counted(count))


def counted(count: Count | None) -> Counted | None:
    """Return a count as the answer has it."""
    return None if count is None else Counted.model_validate(count)
