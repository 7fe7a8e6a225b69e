"""The application's access to the database: one connection pool for threads and coroutines alike."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection

from callytics.exceptions import ReadOnlyServer
from callytics.postgres.async_bridge import AsyncBridge
from callytics.postgres.errors import ours, translated
from callytics.postgres.health import HEALTH_SECONDS, Health, Prober
from callytics.postgres.jobs import Job
from callytics.postgres.sql import FETCH, Fetch, Parameters, Row
from callytics.postgres.statistics import Counters, Statistics
from callytics.postgres.transactions import Isolation, Transaction, begin, commit, roll_back
from callytics.settings import Settings

if TYPE_CHECKING:
    # SQLAlchemy takes a while to load, which commands without a pool are spared.
    from callytics.postgres.pool import Pool, PooledConnection

Query = str | sql.Composable
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class PostgreSQLManager:
    """PostgreSQL for threads and tasks, over one pool of at most POSTGRES_MAX_CONNECTIONS connections.

    The constructor only stores its arguments; :meth:`initialize` opens POSTGRES_MIN_CONNECTIONS connections and
    :meth:`close` closes all of them; a ``with`` block does both. Methods that begin with ``a`` are coroutines: they do
    not block the event loop, and cancelling one cancels its query.

    A caller who finds no free connection waits up to ``timeout`` seconds, then PoolExhausted is raised. The server
    cancels a statement after ``statement_timeout`` seconds (None: never), which raises TooSlow. DatabaseUnavailable
    means that the database can't be reached, or was lost and nothing was stored; its subclass OutcomeUnknown, that the
    connection was lost at a moment when only a look at the data can tell. :mod:`callytics.postgres.errors` lists the
    others. Errors about a statement or its values remain psycopg2.Error.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        owner: bool = False,
        timeout: float = 10.0,
        statement_timeout: float | None = 30.0,
    ) -> None:
        self.settings = settings
        self.owner = owner
        self.timeout = timeout
        self.statement_timeout = statement_timeout
        self._pool: Pool | None = None
        self._process = 0
        self._counters = Counters()
        self._bridge = AsyncBridge()
        self._prober = Prober(self._borrowed)

    def initialize(self) -> None:
        """Open the pool; raise DatabaseUnavailable, one line, if there is no database. Does nothing if it is open."""
        if self._pool is not None:
            return
        from callytics.postgres.pool import Pool

        pool = Pool(self._connect, self.settings.max_connections)
        pool.fill(self.settings.min_connections)
        self._bridge.open(self.settings.max_connections)
        self._process = os.getpid()
        self._pool = pool

    def close(self) -> None:
        """Close every connection, one in use as soon as it is returned. Closing twice does nothing."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
            self._bridge.close()

    def __enter__(self) -> PostgreSQLManager:
        self.initialize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def ainitialize(self) -> None:
        """Open the pool as :meth:`initialize` does."""
        # A thread of the loop's own: the pool's threads do not exist yet.
        await asyncio.to_thread(self.initialize)

    async def aclose(self) -> None:
        """Close the pool as :meth:`close` does."""
        # Not in the pool's threads, which this is about to end.
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> PostgreSQLManager:
        await self.ainitialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a separate connection, in autocommit, even inside a transaction.

        Settings, locks and temporary tables end when it is returned.
        """
        from callytics.postgres.sessions import refresh

        with self._borrowed(self.timeout) as connection:
            try:
                yield connection
            finally:
                refresh(connection, self.statement_timeout)

    @contextmanager
    def transaction(self, *, isolation: Isolation | None = None, read_only: bool = False) -> Iterator[Connection]:
        """Commit what the block does, or none of it if an exception leaves the block.

        Calls of this manager by the same thread or task join it. A transaction inside another one is a savepoint with
        the outer one's isolation. Threads and tasks that are started inside do not take part. Raises OutcomeUnknown
        if the connection is lost during COMMIT, DatabaseUnavailable if it is lost before.
        """
        outer = self._bridge.transaction()
        if outer is not None:
            with outer.savepoint():
                yield outer.connection
            return
        with self._borrowed(self.timeout) as connection:
            begin(connection, isolation, read_only)
            with self._bridge.joinable(connection):
                try:
                    yield connection
                except BaseException:
                    roll_back(connection)
                    raise
            commit(connection)

    @overload
    def execute_query(self, query: Query, params: Parameters = None, fetch: Literal["all"] = "all") -> list[Row]: ...
    @overload
    def execute_query(self, query: Query, params: Parameters = None, *, fetch: Literal["one"]) -> Row | None: ...
    @overload
    def execute_query(self, query: Query, params: Parameters = None, *, fetch: Literal["val"]) -> Any: ...
    @overload
    def execute_query(self, query: Query, params: Parameters = None, *, fetch: Literal["none"]) -> int: ...
    def execute_query(self, query: Query, params: Parameters = None, fetch: Fetch = "all") -> Any:
        """Run a statement: in the open transaction, or otherwise committed in the same round trip.

        Returns all rows or the first one as dicts, the first value of the first row, or the number of affected rows.
        Raises OutcomeUnknown if the connection is lost while it runs outside a transaction.
        """
        joined = self._bridge.transaction()
        if joined is not None:
            return self._execute(joined.connection, query, params, fetch)
        try:
            return self._execute_alone(query, params, fetch)
        except ReadOnlyServer:
            if len(self.settings.hosts) == 1:
                raise
            # It was refused, so it may be sent again: to the server that takes writes now.
            return self._execute_alone(query, params, fetch)

    def run(
        self,
        function: Callable[..., Result],
        *args: Any,
        retries: int = 0,
        isolation: Isolation | None = None,
    ) -> Result:
        """Return ``function(connection, *args)``, run in a transaction.

        After a serialization failure or a deadlock it is retried up to ``retries`` times. Inside an open transaction
        it runs once, in a savepoint, since only the whole transaction can be retried.
        """
        left = retries if self._bridge.transaction() is None else 0
        while True:
            try:
                with self.transaction(isolation=isolation) as connection:
                    return function(connection, *args)
            except (errors.SerializationFailure, errors.DeadlockDetected):
                if left <= 0:
                    raise
            left -= 1
            # Immediately, the same two would collide again.
            time.sleep(random.uniform(0, 0.05))

    def bulk_insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Insert rows by COPY as the iterable yields them, all or none, and return their number.

        Joins an open transaction. ``table`` may have its schema before a dot. Values must be of the column's type: int,
        float, bool, str, bytes, Decimal, date, datetime (with a zone for timestamptz, without one for timestamp), time,
        timedelta, UUID, a list for an array, what json.dumps takes for json and jsonb, str for others. Raises
        RowRefused, which names the row by its index and the column but not the value, for a value that does not fit.
        """
        from callytics.postgres.bulk import copy_rows

        # Counted inside the transaction: the wait for a connection is not the statement's time.
        with self.transaction() as connection, self._translated(connection), self._counters.counted():
            return copy_rows(connection, table, columns, rows, self._bridge.check_cancelled)

    def health_check(self) -> Health:
        """Check the database's health: returns within 2 seconds, and raises nothing if the database is unavailable."""
        probe = self._prober.probe()
        probe.done.wait(HEALTH_SECONDS)
        return probe.health(self.statistics())

    def statistics(self) -> Statistics:
        """Return the pool's figures, without a query."""
        counters, pool = self._counters, self._pool
        if pool is None:
            return Statistics(limit=self.settings.max_connections)
        size, in_use = pool.opened - pool.closed, pool.places.in_use
        return Statistics(
            size=size,
            in_use=in_use,
            idle=max(size - in_use, 0),
            waiting=pool.places.waiting,
            limit=pool.places.size,
            queries=counters.queries,
            errors=counters.errors,
            query_seconds=counters.seconds,
            waits=pool.places.waits,
            wait_seconds=pool.places.wait_seconds,
            timeouts=pool.places.timeouts,
            opened=pool.opened,
            closed=pool.closed,
        )

    async def in_thread(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Run a function that uses this manager in one of the pool's threads, and return its result.

        It joins the task's transaction. It first waits for a place in the pool, so that there is always a thread for
        it. Cancelling the task cancels the function's query, which raises psycopg2.errors.QueryCanceled in it; the task
        ends when the function has ended, or after 5 seconds if the server can't be reached.
        """
        return await self._bridge.run(self._opened(), self.timeout, function, *args, **kwargs)

    @overload
    async def aexecute_query(
        self, query: Query, params: Parameters = None, fetch: Literal["all"] = "all"
    ) -> list[Row]: ...
    @overload
    async def aexecute_query(self, query: Query, params: Parameters = None, *, fetch: Literal["one"]) -> Row | None: ...
    @overload
    async def aexecute_query(self, query: Query, params: Parameters = None, *, fetch: Literal["val"]) -> Any: ...
    @overload
    async def aexecute_query(self, query: Query, params: Parameters = None, *, fetch: Literal["none"]) -> int: ...
    async def aexecute_query(self, query: Query, params: Parameters = None, fetch: Fetch = "all") -> Any:
        """Run a statement as :meth:`execute_query` does."""
        return await self.in_thread(self.execute_query, query, params, fetch)  # type: ignore[arg-type]

    async def arun(
        self,
        function: Callable[..., Result],
        *args: Any,
        retries: int = 0,
        isolation: Isolation | None = None,
    ) -> Result:
        """Run ``function(connection, *args)`` in a thread and a transaction as :meth:`run` does."""
        return await self.in_thread(self.run, function, *args, retries=retries, isolation=isolation)

    async def abulk_insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Insert rows as :meth:`bulk_insert` does; ``rows`` is consumed in a thread."""
        return await self.in_thread(self.bulk_insert, table, columns, rows)

    async def ahealth_check(self) -> Health:
        """Check the database's health as :meth:`health_check` does."""
        probe = self._prober.probe()
        deadline = time.monotonic() + HEALTH_SECONDS
        # Polled: the thread that looks belongs to no event loop, and callers from several loops may share it.
        while not probe.done.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.002)
        return probe.health(self.statistics())

    @asynccontextmanager
    async def atransaction(
        self, *, isolation: Isolation | None = None, read_only: bool = False
    ) -> AsyncIterator[Connection]:
        """Hold a transaction across awaits, with the guarantees of :meth:`transaction`.

        Use the manager's coroutines inside: calls on the connection itself block the event loop.
        """
        outer = self._bridge.transaction()
        if outer is not None:
            async with self._asavepoint(outer):
                yield outer.connection
            return
        async with self._aborrowed() as connection:
            # Not in a thread: nothing is sent before the first statement.
            begin(connection, isolation, read_only)
            with self._bridge.joinable(connection):
                try:
                    yield connection
                except BaseException:
                    await self._bridge.finish(roll_back, connection)
                    raise
            await self._bridge.finish(commit, connection)

    @asynccontextmanager
    async def _asavepoint(self, outer: Transaction) -> AsyncIterator[None]:
        name = await self._bridge.finish(outer.open_savepoint)
        try:
            yield
        except BaseException:
            await self._bridge.finish(outer.undo, name)
            raise
        await self._bridge.finish(outer.keep, name)

    @asynccontextmanager
    async def _aborrowed(self) -> AsyncIterator[PooledConnection]:
        """Lend a connection of the pool; checked out and in by a thread, since both may take a round trip."""
        pool = self._opened()
        proxy = await self._bridge.check_out(pool, self.timeout)
        connection = cast("PooledConnection", proxy.dbapi_connection)
        try:
            yield connection
        except BaseException as error:
            self._judge(pool, connection, error)
            raise
        finally:
            await self._bridge.check_in(pool, proxy)

    @contextmanager
    def _borrowed(self, timeout: float) -> Iterator[PooledConnection]:
        """Lend a connection of the pool; a job that already holds a place does not wait for another."""
        pool, job = self._opened(), self._bridge.job()
        brought = job is not None and job.bring()
        if not brought:
            pool.places.acquire(timeout)
        try:
            with self._lent(pool, job) as connection:
                yield connection
        finally:
            if job is not None and brought:
                # Back to the job, whose next statement may need it; `AsyncBridge` releases it when the job has ended.
                job.place = True
            else:
                pool.places.release()

    @contextmanager
    def _lent(self, pool: Pool, job: Job | None) -> Iterator[PooledConnection]:
        proxy = pool.check_out()
        connection = cast("PooledConnection", proxy.dbapi_connection)
        previous = None
        try:
            if job is not None:
                previous = job.use(connection)
            yield connection
        except BaseException as error:
            self._judge(pool, connection, error)
            raise
        finally:
            if job is not None:
                # Before the connection goes back: a late cancellation would stop the query of whoever borrows it next.
                job.release(previous)
            pool.check_in(proxy)

    def _judge(self, pool: Pool, connection: Connection, error: BaseException) -> None:
        """Retire connections that an error shows to be useless, and raise our own error for it."""
        found = ours(error, self.settings, owner=self.owner, connection=connection) or error
        # Where the server takes no writes any more, another host does.
        if connection.closed or (isinstance(found, ReadOnlyServer) and len(self.settings.hosts) > 1):
            pool.renew(connection)
        if found is not error:
            raise found from error

    def _execute_alone(self, query: Query, params: Parameters, fetch: Fetch) -> Any:
        with self._borrowed(self.timeout) as connection:
            return self._execute(connection, query, params, fetch)

    def _execute(self, connection: Connection, query: Query, params: Parameters, fetch: Fetch) -> Any:
        # A cancellation that came between two statements found no query to stop.
        self._bridge.check_cancelled()
        with self._translated(connection), self._counters.counted(), connection.cursor() as cursor:
            cursor.execute(query, params)
            return FETCH[fetch](cursor)

    def _translated(self, connection: Connection) -> AbstractContextManager[None]:
        return translated(self.settings, owner=self.owner, connection=connection)

    def _opened(self) -> Pool:
        if self._pool is None:
            raise RuntimeError("the pool is not open: call initialize() first, or use 'with PostgreSQLManager(…)'")
        # After fork() both processes would read from the same sockets, each the other's answers.
        if self._process != os.getpid():
            raise RuntimeError("the pool was opened by another process, whose connections these are: open another")
        return self._pool

    def _connect(self) -> PooledConnection:
        from callytics.postgres.sessions import open_session

        return open_session(self.settings, owner=self.owner, statement_timeout=self.statement_timeout)
