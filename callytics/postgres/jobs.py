"""Functions that run in threads for asyncio tasks: cancelling the task cancels the query that its function runs."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

# Seconds between two attempts to cancel a query, which may not have started at the first one; and until a cancelled
# task goes on although its query has not ended, as happens if the server can't be reached.
CANCEL_EVERY = 0.2
CANCEL_PATIENCE = 5.0


@dataclass
class Job:
    """A function in one of the pool's threads: for which task, on which connection, and whether it was cancelled.

    ``place`` tells whether it holds a place in the pool that no connection uses yet.
    """

    owner: object
    place: bool = False
    thread: int = 0
    cancelled: bool = False
    _connection: Connection | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bring(self) -> bool:
        """Give up the place that it holds for a connection, and tell whether there was one."""
        brought, self.place = self.place, False
        return brought

    def use(self, connection: Connection) -> Connection | None:
        """Make this the connection whose queries `cancel` cancels, and return the previous one.

        Raises QueryCanceled if the task was cancelled already.
        """
        with self._lock:
            # Inside the lock: a cancellation that came before it is seen here, a later one finds the connection.
            self.check()
            previous, self._connection = self._connection, connection
            return previous

    def release(self, previous: Connection | None) -> None:
        """Go back to the previous connection: once this returns, no query on the other one is cancelled."""
        with self._lock:
            self._connection = previous

    def check(self) -> None:
        """Raise QueryCanceled if the task was cancelled."""
        if self.cancelled:
            raise errors.QueryCanceled("the caller was cancelled")

    def cancel(self) -> None:
        """Have the server cancel the query that runs on the connection, if there is one."""
        with self._lock:
            self.cancelled = True
            if self._connection is None or self._connection.closed:
                return
            try:
                self._connection.cancel()
            except psycopg2.Error:
                # The server is away, so the query ends anyway.
                return


async def give_up(job: Job, future: asyncio.Future[Any]) -> None:
    """Cancel the job's query until the job has ended, or the time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CANCEL_PATIENCE
    while not future.done() and loop.time() < deadline:
        # In a thread of the loop's own, as the pool's may all be busy: to cancel opens another connection.
        cancelling = loop.run_in_executor(None, job.cancel)
        await asyncio.wait((future, cancelling), timeout=CANCEL_PATIENCE)
        await asyncio.wait((future,), timeout=CANCEL_EVERY)
    future.add_done_callback(look)


def look(future: asyncio.Future[Any]) -> None:
    """Retrieve an error that no one awaits any more, so that asyncio does not log it as never retrieved."""
    if not future.cancelled():
        future.exception()
