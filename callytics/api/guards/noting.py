"""Entries of reads in the audit trail: written before the answer leaves, those of requests at one time together."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict

from callytics.agents.trail import Entry, Trail
from callytics.exceptions import DiskFull, ReadOnlyServer

LOGGER = logging.getLogger("callytics.api")
# Entries in one statement.
MOST = 200


class Noting:
    """Adds entries to the trail, one statement at a time: what comes while it runs shares the next one.

    So each read waits for one short statement, and many at once for hardly more, on one connection.
    """

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def note(self, entry: Entry) -> None:
        """Add an entry, and return once it is committed.

        What can't be noted must not be seen: errors are the request's own, but for those of a database that takes no
        writes. A standby, and a server whose disk is full, can still be read; then the entry is in the service's log.
        """
        noted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, noted))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        try:
            await noted
        except (ReadOnlyServer, DiskFull) as error:
            fields = {**asdict(entry), "reason": type(error).__name__}
            LOGGER.warning("an entry of the audit trail, which the database does not take", extra={"fields": fields})

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            try:
                await self.trail.anote(*(entry for entry, _noted in batch))
            except Exception as error:
                _end(batch, error)
            else:
                _end(batch, None)


def _end(batch: list[tuple[Entry, asyncio.Future[None]]], error: Exception | None) -> None:
    for _entry, noted in batch:
        # A request that is no longer waited for has cancelled its own.
        if noted.done():
            continue
        if error is None:
            noted.set_result(None)
        else:
            noted.set_exception(error)
