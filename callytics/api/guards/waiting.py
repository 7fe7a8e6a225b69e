"""How long a request is worked on: until it is answered, until its time is over, or until its client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from callytics.postgres.pool.cancelling import look

# Longer than app.STATEMENT_SECONDS, so that the server ends a slow statement first; a server that hangs does not.
ANSWER_SECONDS = 18.0

Result = TypeVar("Result")


async def bounded(
    work: Coroutine[Any, Any, Result], seconds: float = ANSWER_SECONDS, departure: Awaitable[None] | None = None
) -> Result:
    """Return the result of ``work``, or cancel it without waiting for its end.

    Raises TimeoutError after ``seconds``, and ClientDisconnect once ``departure`` has ended. asyncio.timeout would wait
    until the work is cancelled, which a database that hangs can delay forever.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(departure) if departure else None
    try:
        watched = (task, leaving) if leaving else (task,)
        await asyncio.wait(watched, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if leaving and leaving.done():
            raise ClientDisconnect
        raise TimeoutError
    finally:
        for one in (task, leaving):
            if one and not one.done():
                # The error with which it ends at last is of interest to nobody.
                one.add_done_callback(look)
                one.cancel()


async def departure(request: Request) -> None:
    """Return once the client has closed its connection; the request's body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
