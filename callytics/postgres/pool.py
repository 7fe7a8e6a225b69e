"""A bounded pool of connections: SQLAlchemy's QueuePool behind one queue of waiting threads and tasks."""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from callytics.exceptions import DatabaseUnavailable, PoolExhausted


class PooledConnection(Connection):
    """A connection of psycopg2 that knows when it was opened and how to look at its socket."""

    generation: int
    poller: select.poll

    def watch(self, generation: int) -> None:
        """Note which generation of connections this one belongs to, and watch its socket."""
        self.generation = generation
        self.poller = select.poll()
        self.poller.register(self.fileno(), select.POLLIN)

    @property
    def alive(self) -> bool:
        """Whether the server has not ended the session, as far as this machine knows; costs no round trip."""
        try:
            # An idle session has nothing to read, unless it has ended or the server has something to remark.
            while not self.closed and self.poller.poll(0):
                self.poll()
        except psycopg2.Error:
            return False
        return not self.closed


class Waiter(Protocol):
    """Somebody in a queue, who is told when it is their turn."""

    def admit(self) -> bool:
        """Let them in; False when they are no longer there."""


@dataclass(eq=False)
class WaitingThread:
    """A thread in the queue."""

    turn: threading.Event = field(default_factory=threading.Event)

    def admit(self) -> bool:
        """Let it in."""
        self.turn.set()
        return True


@dataclass(eq=False)
class WaitingTask:
    """A task of asyncio in the queue."""

    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None]

    def admit(self) -> bool:
        """Let it in; False when its loop was closed while it waited."""
        try:
            self.loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            return False
        return True

    def _wake(self) -> None:
        if not self.turn.done():
            self.turn.set_result(None)


class Gate:
    """Lets so many in at once; whoever comes later waits in one queue, threads and tasks alike."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.waits = 0
        self.wait_seconds = 0.0
        self.timeouts = 0
        self._free = size
        self._lock = threading.Lock()
        self._queue: deque[Waiter] = deque()

    @property
    def inside(self) -> int:
        """How many are inside."""
        return self.size - self._free

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def enter(self, timeout: float) -> None:
        """Wait for a place for so many seconds; raise PoolExhausted when there was none."""
        if self._enter():
            return
        waiter = WaitingThread()
        if self._enter(waiter):
            return
        began = time.perf_counter()
        entered = waiter.turn.wait(timeout) or not self._leave_queue(waiter)
        self._count(time.perf_counter() - began, entered)

    async def aenter(self, timeout: float) -> None:
        """Wait as :meth:`enter` does, without holding up the loop."""
        if self._enter():
            return
        loop = asyncio.get_running_loop()
        waiter = WaitingTask(loop, loop.create_future())
        if self._enter(waiter):
            return
        began = time.perf_counter()
        try:
            await asyncio.wait((waiter.turn,), timeout=timeout)
        except asyncio.CancelledError:
            if not self._leave_queue(waiter):
                self.leave()
            raise
        self._count(time.perf_counter() - began, waiter.turn.done() or not self._leave_queue(waiter))

    def leave(self) -> None:
        """Give the place to the next in the queue."""
        with self._lock:
            while self._queue:
                if self._queue.popleft().admit():
                    return
            self._free += 1

    def _enter(self, waiter: Waiter | None = None) -> bool:
        """Take a free place, or else queue up, and tell whether there was one."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            if waiter is not None:
                self._queue.append(waiter)
                self.waits += 1
            return False

    def _leave_queue(self, waiter: Waiter) -> bool:
        """Wait no longer; False when the place was given meanwhile."""
        with self._lock:
            try:
                self._queue.remove(waiter)
            except ValueError:
                return False
            return True

    def _count(self, seconds: float, entered: bool) -> None:
        with self._lock:
            self.wait_seconds += seconds
            self.timeouts += not entered
        if not entered:
            raise PoolExhausted(
                f"all {self.size} connections to the database were in use for {seconds:.1f} s, and "
                f"{self.waiting} others wait: raise POSTGRES_MAX_CONNECTIONS, or hold connections for less time"
            )


class Pool:
    """Connections, at most ``size`` of them, opened when needed and kept; the one used last is used first.

    Whoever has entered the gate may check one connection out, and leaves once it is back. What is checked out is
    in autocommit, outside any transaction, and alive as far as this machine knows: where the server has ended the
    session another is opened, and in time another for each that is as old.
    """

    def __init__(self, connect: Callable[[], PooledConnection], size: int) -> None:
        self.gate = Gate(size)
        self.opened = 0
        self.closed = 0
        self._connect = connect
        self._generation = 0
        self._over = False
        self._lock = threading.Lock()
        # Nobody waits in there: those who have passed the gate find a connection, or room for one.
        self._queue = QueuePool(
            self._open, pool_size=size, max_overflow=0, timeout=1.0, use_lifo=True, reset_on_return=None
        )
        event.listen(self._queue, "checkout", self._check)
        event.listen(self._queue, "close", self._count_closed)

    def fill(self, number: int) -> None:
        """Open so many connections; all or none."""
        proxies: list[PoolProxiedConnection] = []
        try:
            for _ in range(number):
                proxies.append(self._queue.connect())
        except BaseException:
            self._over = True
            raise
        finally:
            for proxy in proxies:
                self.check_in(proxy)

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        self._over = True
        self._queue.dispose()

    def check_out(self) -> PoolProxiedConnection:
        """Return the proxy of a connection; raise DatabaseUnavailable when there is none to be had."""
        if self._over:
            raise DatabaseUnavailable("the pool of connections was closed: open another")
        return self._queue.connect()

    def check_in(self, proxy: PoolProxiedConnection) -> None:
        """Take a connection back as it was handed out, or close it where that can't be done."""
        connection = cast(PooledConnection, proxy.dbapi_connection)
        try:
            _reset(connection)
        except psycopg2.Error:
            connection.close()
        if connection.closed or self._over or connection.generation != self._generation:
            proxy.invalidate()
        proxy.close()

    def renew(self, connection: Connection) -> None:
        """Use no connection again that is as old as this one; those in use are closed when they come back."""
        with self._lock:
            if cast(PooledConnection, connection).generation == self._generation:
                self._generation += 1

    def _open(self) -> Any:
        generation = self._generation
        connection = self._connect()
        connection.watch(generation)
        with self._lock:
            self.opened += 1
        return connection

    def _check(self, connection: Any, _record: Any, _proxy: Any) -> None:
        """Refuse a connection that is old or dead: QueuePool opens another in its place."""
        if not connection.alive:
            self.renew(connection)
        if connection.generation != self._generation:
            raise DisconnectionError("the server has ended the session")

    def _count_closed(self, _connection: Any, _record: Any) -> None:
        with self._lock:
            self.closed += 1


def _reset(connection: PooledConnection) -> None:
    """End what is left of a transaction."""
    if connection.closed:
        return
    if connection.info.transaction_status != TRANSACTION_STATUS_IDLE:
        connection.rollback()
    if not connection.autocommit:
        # Left set, these two would cost a round trip on the way to the next transaction.
        connection.isolation_level = None
        connection.readonly = None
        connection.autocommit = True
