"""HTTP connections: how many there are, and how long one may be idle, send its headers, and take to read its answer.

uvicorn has a limit for idle connections after their first request only. Measured without these: a process with 256 file
descriptors and 300 silent connections answered nobody until they left.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from callytics.api.guards.answers import HEADERS
from callytics.api.problems import MEDIA_TYPE, Problem

LOGGER = logging.getLogger("callytics.api")
MOST_CONNECTIONS = 256
# New connections wait here while the service is busy. asyncio accepts as many at once before it looks at any of them.
BACKLOG = 128
# Files, the database's connections and threads need descriptors, too.
OTHER_DESCRIPTORS = 64
FEWEST_CONNECTIONS = 16
# For the first complete request, and for the next one.
HEADER_BYTES, HEADER_SECONDS, IDLE_SECONDS = 16 * 1024, 10.0, 5
# Until an answer is read: longer than its body and its work may take, see limits.
REQUEST_SECONDS = 90.0
MALFORMED = "this is no HTTP request"


def most_connections(database_connections: int) -> int:
    """Return how many connections the process can hold without running out of file descriptors."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    free = descriptors - BACKLOG - database_connections - OTHER_DESCRIPTORS
    return max(min(MOST_CONNECTIONS, free), FEWEST_CONNECTIONS)


def limited(most: int) -> type[Connection]:
    """Return the protocol for uvicorn, with room for ``most`` connections."""

    class Limited(Connection):
        pass

    Limited.most = most
    return Limited


class Connection(H11Protocol):
    """uvicorn's connection, which ends when it keeps the service waiting, or makes room for others."""

    most = MOST_CONNECTIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self.waiting_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; beyond the limit, the connection that has waited longest ends."""
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._unset()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what has arrived; only a complete head of a request ends the wait for it."""
        super().data_received(data)
        self._notice()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it has arrived already."""
        self._await_request()
        super().on_response_complete()
        self._notice()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem document that has the headers of all others."""
        problem = Problem(title="Bad Request", status=400, detail=MALFORMED).model_dump(exclude_none=True)
        headers = HEADERS | {"Content-Type": MEDIA_TYPE, "Connection": "close"}
        head = h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request")
        for event in (head, h11.Data(data=json.dumps(problem).encode()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_request(self) -> None:
        self.waiting_since = self.loop.time()
        self._set(HEADER_SECONDS)

    def _notice(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and self.waiting_since is not None:
            self.waiting_since = None
            self._set(REQUEST_SECONDS)

    def _set(self, seconds: float) -> None:
        self._unset()
        self._timer = self.loop.call_later(seconds, self._late)

    def _unset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        since = self.waiting_since
        # A large answer is handed over as a whole, and may take its client a while to read.
        unread = self.transport.get_write_buffer_size() > 0
        if unread and since is not None and self.loop.time() - since < REQUEST_SECONDS:
            self._set(HEADER_SECONDS)
        else:
            # Not close(), which waits until everything is read.
            self.transport.abort()

    def _make_room(self) -> None:
        """End the connection that has waited longest for a request, or this one if all others are being answered."""
        LOGGER.warning("too many connections: one that was idle was closed")
        waiting = [one for one in self.connections if isinstance(one, Connection) and one.waiting_since is not None]
        idlest = min(waiting, key=lambda one: one.waiting_since or 0.0)
        # uvicorn forgets it a moment later; until then it must not be chosen again.
        self.connections.discard(idlest)
        idlest.transport.abort()
