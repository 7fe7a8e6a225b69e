"""The analysis that a request brings: read and judged beside the event loop, which goes on answering others."""

from __future__ import annotations

import asyncio
import email.message
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from callytics.api import service
from callytics.api.guards.limits import CROWDED

# Python takes some forty times as much memory for a body's parts as the body has bytes, so large ones take turns.
LARGE_BYTES, LARGE_SECONDS = 64 * 1024, 10.0
# A day of speech in words has fewer; millions of empty lists fit into a body, too.
MOST_PARTS, MOST_VALUES = 100_000, 500_000
Model = TypeVar("Model", bound=BaseModel)
UNREADABLE = "There was an error parsing the body"


class Sent(Generic[Model]):
    """The body of a route's requests as a model.

    FastAPI would parse and validate it in the event loop, 4 MB of it for seconds.
    """

    def __init__(self, model: type[Model]) -> None:
        self.model = model

    @asynccontextmanager
    async def by(self, request: Request) -> AsyncIterator[Model]:
        """Lend the model; the turn of a large body lasts until the block ends.

        Raises RequestValidationError as FastAPI itself does, HTTPException 400 for a body that can't be read, 413 for
        one with too many parts, and 503 if others' large bodies are not done with in 10 seconds.
        """
        body, media_type = await request.body(), request.headers.get("content-type", "")
        if len(body) < LARGE_BYTES:
            yield self._read(body, media_type)
            return
        async with _turn(service.of(request).large):
            yield await run_in_threadpool(self._read, body, media_type)

    def described(self) -> dict[str, Any]:
        """Return what OpenAPI says of the body, for ``openapi_extra``."""
        schema = {"$ref": f"#/components/schemas/{self.model.__name__}"}
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    def schemas(self) -> dict[str, Any]:
        """Return the schemas that `described` refers to, by name."""
        described = self.model.model_json_schema(ref_template="#/components/schemas/{model}")
        parts: dict[str, Any] = described.pop("$defs", {})
        return parts | {self.model.__name__: described}

    def _read(self, body: bytes, media_type: str) -> Model:
        if not body:
            raise _invalid({"type": "missing", "loc": (), "msg": "Field required"})
        try:
            return self.model.model_validate(_json(body) if _is_json(media_type) else body)
        except ValidationError as error:
            raise _invalid(*error.errors(include_url=False, include_input=False)) from None


def _json(body: bytes) -> Any:
    if body.count(b"{") + body.count(b"[") > MOST_PARTS or body.count(b",") > MOST_VALUES:
        raise HTTPException(413, f"the body has more than {MOST_PARTS} parts: send less at once")
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise _invalid({"type": "json_invalid", "loc": (error.pos,), "msg": "JSON decode error"}) from None
    except (ValueError, RecursionError):
        raise HTTPException(400, UNREADABLE) from None


def _is_json(media_type: str) -> bool:
    message = email.message.Message()
    message["content-type"] = media_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def _invalid(*errors: Any) -> RequestValidationError:
    return RequestValidationError([{**error, "loc": ("body", *error["loc"])} for error in errors])


@asynccontextmanager
async def _turn(large: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LARGE_SECONDS):
            await large.acquire()
    except TimeoutError:
        raise HTTPException(503, CROWDED, {"Retry-After": "2"}) from None
    try:
        yield
    finally:
        large.release()
