"""How a cancelled task ends what it waited for, in a bounded time, whatever the server does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

# Seconds between two attempts to stop a query, which may just not have begun, and until whoever cancelled it goes on
# although it has not ended: the server is out of reach then, and the session is abandoned.
CANCEL_EVERY = 0.2
CANCEL_PATIENCE = 5.0


async def until_ended(
    future: asyncio.Future[Any], cancel: Callable[[], Awaitable[None]], abandon: Callable[[], None]
) -> None:
    """Cancel until the future is done; abandon what it works on where that does not help, or is cancelled itself."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CANCEL_PATIENCE
    future.add_done_callback(look)
    try:
        while not future.done() and loop.time() < deadline:
            await cancel()
            await asyncio.wait((future,), timeout=CANCEL_EVERY)
    finally:
        if not future.done():
            abandon()
            await asyncio.wait((future,), timeout=CANCEL_EVERY)


def look(future: asyncio.Future[Any]) -> None:
    """Retrieve an error that no one awaits any more, so that asyncio does not log it as never retrieved."""
    if not future.cancelled():
        future.exception()
