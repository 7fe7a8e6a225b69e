"""Analyses of calls come in, whole or not at all, and are read again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from callytics.api import permits, problems, service
from callytics.api.results import NewAnalysis
from callytics.api.text import RowId
from callytics.calls.manager import MultiDatabaseManager

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

Row = Annotated[dict[str, Any], Field(description="A row of the table, by column")]


class Stored(BaseModel):
    """What a stored analysis is known by."""

    audio_file_id: int = Field(examples=[1])
    session_id: int | None = Field(default=None, description="The consultation's, where there is one", examples=[1])


class AudioAnalysis(BaseModel):
    """What is known of a recording."""

    audio_file: Row
    features: Row | None
    metrics: Row | None
    speaker_segments: list[Row]
    transcriptions: list[Row]


class ConsultationQuality(BaseModel):
    """How good the conversation was: the newest consultation, and what was assessed."""

    session: Row | None
    metrics: list[Row]
    sentiment: list[Row]
    patterns: list[Row]
    suggestions: list[Row]
    communication_quality: Row | None
    consultation_analysis: Row | None


class Analysis(BaseModel):
    """All that is known of a call, whichever generation of Callytics analysed it."""

    audio_analysis: AudioAnalysis
    consultation_quality: ConsultationQuality
    transcript: list[Row] = Field(description="What was said, in order, whichever table holds it")


@writing.post(
    "",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"description": "Where to read it again", "schema": {"type": "string"}}}},
        **problems.declared(409),
    },
)
async def store(request: Request, response: Response, analysis: NewAnalysis) -> Stored:
    """Store one call's whole analysis, all of it or nothing. The same recording again is another analysis."""
    ours = service.of(request)
    stored = await ours.postgres.in_thread(_store, ours.databases, analysis)
    response.headers["Location"] = f"/analyses/{stored.audio_file_id}"
    return stored


@reading.get("/{audio_file_id}", responses=problems.declared(404))
async def read(request: Request, audio_file_id: RowId) -> Analysis:
    """Return all that is known of a call."""
    found = await service.of(request).databases.aget_complete_analysis_result(audio_file_id)
    if found is None:
        raise HTTPException(404, "there is no such recording")
    return Analysis(**found)


def _store(databases: MultiDatabaseManager, analysis: NewAnalysis) -> Stored:
    given = analysis.model_dump(exclude_unset=True)
    quality = given.pop("quality", None)
    with databases.postgres.transaction():
        audio_file_id = databases.save_audio_analysis(_without_none(given))["audio_file_id"]
        session_id = None
        if quality:
            quality = _without_none(quality) | {"audio_file_id": audio_file_id}
            session_id = databases.save_quality_analysis(quality)["session_id"]
    return Stored(audio_file_id=audio_file_id, session_id=session_id)


def _without_none(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that are there: null means the same as leaving a part out."""
    return {name: part for name, part in parts.items() if part is not None}
