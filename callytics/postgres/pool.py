"""A bounded connection pool: SQLAlchemy's QueuePool behind one queue for waiting threads and tasks."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from typing import Any, cast

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres.semaphore import FairSemaphore


class PooledConnection(Connection):
    """A psycopg2 connection that knows its generation and can check its socket."""

    generation: int
    poller: select.poll

    def watch(self, generation: int) -> None:
        """Note which generation of connections this one belongs to, and watch its socket."""
        self.generation = generation
        self.poller = select.poll()
        self.poller.register(self.fileno(), select.POLLIN)

    @property
    def alive(self) -> bool:
        """Whether the session has not ended, as far as this machine knows; takes no round trip."""
        try:
            # An idle session has nothing to read unless it has ended, or the server has sent a notice.
            while not self.closed and self.poller.poll(0):
                self.poll()
        except psycopg2.Error:
            return False
        return not self.closed


class Pool:
    """At most ``size`` connections, opened when needed and kept; the one used last is used first.

    Acquire one of ``places`` before checking a connection out, and release it once the connection is checked in. A
    connection that is checked out is in autocommit, outside any transaction, and alive as far as this machine knows. If
    the server has ended its session it is replaced, and so is, in time, every other of the same generation.
    """

    def __init__(self, connect: Callable[[], PooledConnection], size: int) -> None:
        self.places = FairSemaphore(size)
        self.opened = 0
        self.closed = 0
        self._connect = connect
        self._generation = 0
        self._over = False
        self._lock = threading.Lock()
        # QueuePool's own queue is never waited in, as it knows threads only: whoever holds a place finds a connection,
        # or room for one. A reset on return would be a round trip each time; check_in does one only where it is needed.
        self._queue = QueuePool(
            self._open, pool_size=size, max_overflow=0, timeout=1.0, use_lifo=True, reset_on_return=None
        )
        event.listen(self._queue, "checkout", self._check)
        event.listen(self._queue, "close", self._count_closed)

    def fill(self, number: int) -> None:
        """Open that many connections; all or none."""
        proxies: list[PoolProxiedConnection] = []
        try:
            for _ in range(number):
                proxies.append(self._queue.connect())
        except BaseException:
            # Those that did open are closed on their way back.
            self._over = True
            raise
        finally:
            for proxy in proxies:
                self.check_in(proxy)

    def close(self) -> None:
        """Close idle connections now, and those in use when they are checked in."""
        self._over = True
        self._queue.dispose()

    def check_out(self) -> PoolProxiedConnection:
        """Return the proxy of a connection; raise DatabaseUnavailable if none can be opened."""
        if self._over:
            raise DatabaseUnavailable("the pool of connections was closed: open another")
        return self._queue.connect()

    def check_in(self, proxy: PoolProxiedConnection) -> None:
        """Restore a connection to the state in which it was checked out, or close it if that fails."""
        connection = cast(PooledConnection, proxy.dbapi_connection)
        try:
            _reset(connection)
        except psycopg2.Error:
            # A transaction that can't be rolled back may hold locks: the end of the session releases them.
            connection.close()
        if connection.closed or self._over or connection.generation != self._generation:
            proxy.invalidate()
        proxy.close()

    def renew(self, connection: Connection) -> None:
        """Retire every connection of this one's generation; those in use are closed when they come back."""
        with self._lock:
            # Somebody else may have reported the same loss already, and what was opened since is good.
            if cast(PooledConnection, connection).generation == self._generation:
                self._generation += 1

    def _open(self) -> Any:
        # Noted first: if the generation ends while this connection opens, it may still have reached the old server.
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
