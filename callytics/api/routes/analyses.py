"""Routes that store a call's analysis, all of it or nothing, and that return it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from callytics.agents.auth import Agent
from callytics.agents.trail import Entry
from callytics.api import problems, service
from callytics.api.guards import permits
from callytics.api.guards.repeating import Key, Once
from callytics.api.guards.sent import Sent
from callytics.api.guards.text import RowId
from callytics.calls.fields import Count, Name, Path, Seconds
from callytics.calls.models import AudioFile, Quality, Recorded

reading = APIRouter(
    prefix="/analyses",
    tags=["analyses"],
    route_class=permits.permitted("analysis_view", "read"),
    dependencies=[Depends(permits.BEARER)],
    responses=problems.declared(401, 403),
)
writing = APIRouter(
    prefix="/analyses",
    tags=["analyses"],
    route_class=permits.permitted("audio_upload", "write"),
    dependencies=[Depends(permits.BEARER)],
    responses=problems.declared(401, 403),
)

# Columns differ between generations and migrations: a model would have to change with each.
TableRow = Annotated[dict[str, Any], Field(description="A row of the table, by column")]


class Recording(AudioFile):
    """The recording."""

    file_path: Path = Field(examples=["/srv/calls/2026/0001.wav"])
    file_size: Count = Field(description="Bytes", examples=[1_920_044])
    duration_seconds: Seconds = Field(examples=[60.0])
    sample_rate: Count = Field(description="Samples a second", examples=[16_000])
    channels: Count = Field(examples=[1])
    format_type: Name = Field(validation_alias=AudioFile.model_fields["format_type"].validation_alias, examples=["wav"])


class NewAnalysis(Recorded):
    """One call's whole analysis."""

    audio_file: Recording
    quality: Quality | None = None


class Stored(BaseModel):
    """The ids of a stored analysis."""

    audio_file_id: int = Field(examples=[1])
    session_id: int | None = Field(default=None, description="The consultation's; null without one", examples=[1])


class RecordingAnalysis(BaseModel):
    """What is known about a recording."""

    audio_file: TableRow
    features: TableRow | None
    metrics: TableRow | None
    speaker_segments: list[TableRow]
    transcriptions: list[TableRow]


class ConsultationQuality(BaseModel):
    """The quality of the conversation: the newest consultation and its assessments."""

    session: TableRow | None
    metrics: list[TableRow]
    sentiment: list[TableRow]
    patterns: list[TableRow]
    suggestions: list[TableRow]
    communication_quality: TableRow | None
    consultation_analysis: TableRow | None


class Analysis(BaseModel):
    """Everything known about a call, whichever generation of Callytics analysed it."""

    audio_analysis: RecordingAnalysis
    consultation_quality: ConsultationQuality
    transcript: list[TableRow] = Field(description="What was said, in order, whichever table holds it")


SENT = Sent(NewAnalysis)


@writing.post(
    "",
    openapi_extra=SENT.described(),
    summary="Store an analysis",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"description": "Where to read it again", "schema": {"type": "string"}}}},
        **problems.declared(409),
    },
)
async def store(
    request: Request, response: Response, agent: Annotated[Agent, Depends(permits.agent)], key: Key = None
) -> Stored:
    """Store one call's analysis, all of it or nothing.

    Storing the same recording again adds another analysis, unless the request repeats an earlier one's Idempotency-Key.
    """
    ours = service.of(request)
    async with SENT.by(request) as analysis:
        work = partial(_store, ours, analysis, partial(permits.entry, request, "call.store", "done"))
        if key is not None:
            once = Once[Stored](ours.postgres, agent.account_id, key, 201)
            work = partial(once.run, analysis, work, Stored)
        stored = await ours.postgres.in_thread(work)
    response.headers["Location"] = f"/analyses/{stored.audio_file_id}"
    return stored


@reading.get("/{audio_file_id}", summary="Read an analysis", responses=problems.declared(404))
async def read(request: Request, audio_file_id: RowId) -> Analysis:
    """Return everything known about a call."""
    permits.shown(request, [audio_file_id])
    found = await permits.read(request, lambda calls: calls.aget_complete_analysis_result(audio_file_id))
    if found is None:
        raise HTTPException(404, "there is no such recording")
    return Analysis(**found)


def _store(ours: service.Service, analysis: NewAnalysis, entry: Callable[[Sequence[int]], Entry]) -> Stored:
    """Store a validated analysis: the recording, its consultation and who stored it in one transaction."""
    databases = ours.databases
    with databases.postgres.transaction():
        found = databases.save_audio_analysis(_given(analysis, but="quality"))["audio_file_id"]
        session = None
        if analysis.quality:
            session = databases.save_quality_analysis(_given(analysis.quality) | {"audio_file_id": found})["session_id"]
        ours.noting.trail.note(entry([found]))
    return Stored(audio_file_id=found, session_id=session)


def _given(part: Recorded | Quality, but: str = "") -> dict[str, Any]:
    """Return the parts that were sent; null means the same as leaving a part out."""
    # Not what the model filled in: a column's own default applies to what was left out.
    given = {name: getattr(part, name) for name in part.model_fields_set if name != but}
    return {name: value for name, value in given.items() if value is not None}
