"""Functions in threads for tasks of asyncio: a task that is cancelled cancels the query its function waits for."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

# Seconds between two attempts to stop a query, which may just not have begun, and until a cancelled task goes on
# although its query has not ended: the server is out of reach then.
CANCEL_EVERY = 0.2
CANCEL_PATIENCE = 5.0


@dataclass
class Job:
    """A function in one of the pool's threads: for whom, on which connection, and whether it is still wanted.

    ``place`` tells whether it brought a place in the pool that nothing has taken yet.
    """

    owner: object
    place: bool = False
    thread: int = 0
    cancelled: bool = False
    _connection: Connection | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bring(self) -> bool:
        """Take the place that was brought, and tell whether there was one."""
        brought, self.place = self.place, False
        return brought

    def use(self, connection: Connection) -> Connection | None:
        """Cancel queries on this connection from now on, and return the previous one.

        Raises QueryCanceled when nobody waits any more.
        """
        with self._lock:
            # Inside the lock: a cancellation that came before it is seen here, a later one finds the connection.
            self.check()
            previous, self._connection = self._connection, connection
            return previous

    def release(self, previous: Connection | None) -> None:
        """Go back to the previous connection: no query on the other is cancelled for us once this returns."""
        with self._lock:
            self._connection = previous

    def check(self) -> None:
        """Raise QueryCanceled when nobody waits any more."""
        if self.cancelled:
            raise errors.QueryCanceled("the caller was cancelled")

    def cancel(self) -> None:
        """Have the server stop what runs on the connection, if anything does."""
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
    """Cancel what the job runs, until it has ended or can't be made to."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CANCEL_PATIENCE
    while not future.done() and loop.time() < deadline:
        # In a thread of the loop's own, as the pool's may all be busy: to cancel opens another connection.
        cancelling = loop.run_in_executor(None, job.cancel)
        await asyncio.wait((future, cancelling), timeout=CANCEL_PATIENCE)
        await asyncio.wait((future,), timeout=CANCEL_EVERY)
    future.add_done_callback(look)


def look(future: asyncio.Future[Any]) -> None:
    """Look at an error that nobody waits for, so that asyncio does not complain about it."""
    if not future.cancelled():
        future.exception()
