"""Errors as problem details (RFC 9457): what is wrong with the request, never what is inside the service.

https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg import errors
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from callytics.exceptions import (
    DatabaseUnavailable,
    DiskFull,
    InvalidAnalysis,
    InvalidSearch,
    LacksResources,
    LoginRefused,
    NotAuthenticated,
    NotPermitted,
    OutcomeUnknown,
    PoolExhausted,
    ReadOnlyServer,
    TooManyLogins,
    TooSlow,
)
from callytics.postgres import PostgreSQLManager
from callytics.postgres.pool.health import WAITS

MEDIA_TYPE = "application/problem+json"
# Only names that could be fields are echoed: a key that the client invented could contain anything.
FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
# A body can have as many errors as bytes; whoever sent it reads the first few.
MOST_ERRORS = 20
AWAY = "the database can't be reached: try again in a moment"
BUSY = "every connection to the database is in use: try again in a moment"
READ_ONLY = "the database takes no writes at the moment: reading works, try again later"
FULL = "the database has no disk space left: reading works, try again later"
LACKING = "the database lacks memory or another resource: try again in a moment"
UNKNOWN = "the database was lost or too slow while it stored this: look whether it is there before you try again"
UNCONFIRMED = (
    "the database waits for a standby and stores nothing meanwhile: look whether this is there before you try again"
)
SLOW = "the database took too long: try again, or ask for less"
CONFLICT = "what is there already contradicts this request"
REFUSED = "the database does not take these values"
INVALID = "see the errors: each names a field"
# Of an answer's time, which has passed: whether the database waits shows in its first reply.
ASK_SECONDS = 0.5
BROKEN = "something went wrong here: the log has more under this request's id"


class FieldProblem(BaseModel):
    """What is wrong with one field. Its value is not echoed: it may be a password or what a customer said."""

    field: str = Field(examples=["body.segments[3].start_time"])
    detail: str = Field(examples=["Field required"])


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "there is no such recording",
                "request_id": "0f8e7c1d5b3a4f6c9d2e1a0b7c8d9e0f",
            }
        }
    )

    type: str = Field(default="about:blank", description="A URI for the kind of problem; about:blank: see the status")
    title: str = Field(description="The status in words")
    status: int
    detail: str = Field(description="What is wrong, and what to do")
    request_id: str | None = Field(default=None, description="What the log knows this request by")
    errors: list[FieldProblem] | None = Field(default=None, description="With 422: the fields that are wrong")


def schemas() -> dict[str, Any]:
    """Return the JSON schemas that :func:`declared` refers to, by name."""
    described = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Any] = described.pop("$defs")
    return parts | {"Problem": described}


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of these errors, for the ``responses`` of a router or route."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def response(
    request: Request,
    status: int,
    detail: str,
    *,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error as a problem document, with the id by which the log knows this request."""
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=getattr(request.state, "request_id", None),
        errors=errors,
    )
    body = problem.model_dump(exclude_none=True)
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Register an answer for every expected error; guards.LastResort answers all others."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(InvalidAnalysis, _invalid_value)
    app.add_exception_handler(InvalidSearch, _invalid_value)
    app.add_exception_handler(NotPermitted, _not_permitted)
    app.add_exception_handler(TimeoutError, _late)
    for kind, status, detail, headers in ANSWERS:
        app.add_exception_handler(kind, _answer(status, detail, headers))


# Starlette takes the handler of the most derived class, whatever the order here. What is missing here becomes a 500.
ANSWERS: tuple[tuple[type[Exception], int, str, dict[str, str] | None], ...] = (
    (LoginRefused, 401, str(LoginRefused()), {"WWW-Authenticate": "Bearer"}),
    (TooManyLogins, 429, str(TooManyLogins()), {"Retry-After": "2"}),
    (NotAuthenticated, 401, str(NotAuthenticated()), {"WWW-Authenticate": "Bearer"}),
    (PoolExhausted, 503, BUSY, {"Retry-After": "1"}),
    (OutcomeUnknown, 503, UNKNOWN, {"Retry-After": "5"}),
    (ReadOnlyServer, 503, READ_ONLY, {"Retry-After": "30"}),
    (DiskFull, 503, FULL, {"Retry-After": "30"}),
    (LacksResources, 503, LACKING, {"Retry-After": "5"}),
    (DatabaseUnavailable, 503, AWAY, {"Retry-After": "5"}),
    (TooSlow, 503, SLOW, {"Retry-After": "5"}),
    # postgres/errors.py leaves to its callers what blames the statement or its values: only they know what it means.
    *((kind, 503, SLOW, {"Retry-After": "1"}) for kind in (errors.SerializationFailure, errors.DeadlockDetected)),
    (psycopg.IntegrityError, 409, CONFLICT, None),
    (psycopg.DataError, 422, REFUSED, None),
    # A value that is too long for the index of its column, say.
    (errors.ProgramLimitExceeded, 422, REFUSED, None),
)


def _answer(status: int, detail: str, headers: dict[str, str] | None) -> Callable[[Request, Exception], JSONResponse]:
    def handle(request: Request, _error: Exception) -> JSONResponse:
        return response(request, status, detail, headers=headers)

    return handle


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return response(request, error.status_code, error.detail, headers=error.headers)


def _not_permitted(request: Request, error: Exception) -> JSONResponse:
    return response(request, 403, str(error))


async def _late(request: Request, _error: Exception) -> JSONResponse:
    """Answer a request that ran out of time; the database may still have stored something."""
    if request.method == "GET":
        return response(request, 503, SLOW, headers={"Retry-After": "5"})
    postgres: PostgreSQLManager = request.app.state.service.postgres
    waits = (await postgres.ahealth_check(ASK_SECONDS)).reason == WAITS
    return response(request, 503, UNCONFIRMED if waits else UNKNOWN, headers={"Retry-After": "30" if waits else "5"})


def _invalid_value(request: Request, error: Exception) -> JSONResponse:
    """Answer an error of ours whose text is the field, a colon, and what is wrong with it."""
    field, _, detail = str(error).partition(": ")
    where = "query" if isinstance(error, InvalidSearch) else "body"
    found = [FieldProblem(field=f"{where}.{field}", detail=detail)] if detail else None
    return response(request, 422, INVALID, errors=found)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    found = [
        FieldProblem(field=_field(one["loc"]), detail=one["msg"].removeprefix("Value error, "))
        for one in errors[:MOST_ERRORS]
    ]
    left_out = len(errors) - len(found)
    return response(request, 422, f"{INVALID}; {left_out} more are left out" if left_out else INVALID, errors=found)


def _field(location: tuple[str | int, ...]) -> str:
    """Return the path of a value, such as ``body.segments[3].start_time``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in location)
    return "".join(parts).removeprefix(".")


def _name(part: str) -> str:
    return part if FIELD.fullmatch(part) else "(unknown)"
