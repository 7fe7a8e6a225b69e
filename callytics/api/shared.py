"""One run of some work for all who ask at the same time, so that many requests use one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from callytics.postgres.jobs import look

Result = TypeVar("Result")


class Shared(Generic[Result]):
    """The result of some work, shared by all who ask while it runs and until ``seconds`` after it started."""

    def __init__(self, work: Callable[[], Awaitable[Result]], seconds: float = 0.0) -> None:
        self.work = work
        self.seconds = seconds
        self._task: asyncio.Future[Result] | None = None
        self._started = 0.0

    async def get(self) -> Result:
        """Return the result. Errors are not cached; cancelling one caller does not cancel the work for the others."""
        if self._task is None or self._is_old(self._task):
            self._task = asyncio.ensure_future(self.work())
            # If every caller has gone, nobody retrieves its error, which asyncio would log with its message.
            self._task.add_done_callback(look)
            self._started = time.monotonic()
        return await asyncio.shield(self._task)

    def _is_old(self, task: asyncio.Future[Result]) -> bool:
        if not task.done():
            return False
        failed = task.cancelled() or task.exception() is not None
        return failed or time.monotonic() - self._started >= self.seconds
