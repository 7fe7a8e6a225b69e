"""Routes that report imports to agents with the permission report_generation."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from callytics.api import problems, service
from callytics.api.guards import permits
from callytics.api.telemetry.state import SQL, Verdict
from callytics.postgres import PostgreSQLManager

router = APIRouter(
    prefix="/imports",
    tags=["imports"],
    route_class=permits.permitted("report_generation", "read"),
    dependencies=[Depends(permits.BEARER)],
    responses=problems.declared(401, 403),
)


class ImportedTable(BaseModel):
    """The outcome for one table of a file: loaded + shared + rejected = source_rows, but for rows erased since."""

    file: str = Field(examples=["/srv/callytics/audio_analysis.db"])
    source_table: str = Field(examples=["audio_files"])
    target_table: str = Field(examples=["audio_files"])
    source_rows: int = Field(examples=[1200])
    loaded: int = Field(examples=[1199])
    shared: int = Field(default=0, description="Rows that were there already, with the same values", examples=[0])
    rejected: int = Field(examples=[1])
    verified_rows: int | None = Field(default=None, description="Rows compared value by value", examples=[1199])
    different_rows: int | None = Field(default=None, examples=[0])


class ImportReport(Verdict):
    """An import, table by table."""

    version: str = Field(description="The version of Callytics that ran it", examples=["0.2.0"])
    tables: list[ImportedTable]


@router.get("/latest", summary="Read the last import", responses=problems.declared(404))
async def latest(request: Request) -> ImportReport:
    """Return the last import, table by table."""
    found = await service.of(request).reads.read(_latest)
    if found is None:
        raise HTTPException(404, "nothing was imported yet")
    return found


async def _latest(postgres: PostgreSQLManager) -> ImportReport | None:
    found = await postgres.aexecute_query(SQL["last_import"], fetch="one")
    if found is None:
        return None
    tables = await postgres.aexecute_query(SQL["import_tables"], {"id": found["id"]})
    return ImportReport(**found, tables=[ImportedTable(**table) for table in tables])
