"""The application's access to the database: one connection pool for threads and coroutines alike."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, overload

from psycopg import errors, sql

from callytics.exceptions import DatabaseUnavailable, ReadOnlyServer, SchemaChanged
from callytics.postgres.errors import translated
from callytics.postgres.fetching import FACTORIES, Fetch, fetched
from callytics.postgres.pool.callers import Begin, Callers
from callytics.postgres.pool.health import HEALTH_SECONDS, Health, Prober
from callytics.postgres.pool.lending import Lender
from callytics.postgres.pool.pool import Pool
from callytics.postgres.pool.sessions import Session, refresh
from callytics.postgres.pool.statistics import Counters, Observer, Statistics
from callytics.postgres.pool.succession import Succession, open_session
from callytics.postgres.pool.transactions import Isolation, Transaction, ainside, inside
from callytics.postgres.sql import Parameters, Row
from callytics.settings import Settings

Query = str | sql.SQL | sql.Composed

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
    connection was lost, or a commit not confirmed by a standby, at a moment when only a look at the data can tell; ten
    seconds after ``statement_timeout`` an answer counts as lost. :mod:`callytics.postgres.errors` lists the
    others. Errors about a statement or its values remain psycopg.Error.
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
        self._lender: Lender | None = None
        self._process = 0
        self._counters = Counters()
        self._callers = Callers()
        self._prober = Prober(self._borrowed)

    def initialize(self) -> None:
        """Open the pool; raise DatabaseUnavailable, one line, if there is no database. Does nothing if it is open."""
        if self._lender is not None:
            return
        pool = Pool(self._connect, self.settings.max_connections, Succession.of(self.settings).is_over)
        pool.fill(self.settings.min_connections)
        self._callers.open(self.settings.max_connections)
        self._process = os.getpid()
        self._lender = Lender(pool, self._callers, self.settings, owner=self.owner)

    def close(self) -> None:
        """Close every connection, one in use as soon as it is returned. Closing twice does nothing."""
        lender, self._lender = self._lender, None
        if lender is not None:
            lender.pool.close()
            self._callers.close()

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
    def connection(self) -> Iterator[Session]:
        """Lend a separate connection, in autocommit, even inside a transaction.

        Settings, locks and temporary tables end when it is returned.
        """
        with self._opened().lend(self.timeout) as session:
            try:
                yield session
            finally:
                refresh(session, self.statement_timeout)

    @contextmanager
    def transaction(self, *, isolation: Isolation | None = None, read_only: bool = False) -> Iterator[Session]:
        """Commit what the block does, or none of it if an exception leaves the block.

        Calls of this manager by the same thread or task join it. A transaction inside another one is a savepoint with
        the outer one's isolation. Threads and tasks that are started inside do not take part. Raises OutcomeUnknown
        if the connection is lost during COMMIT, DatabaseUnavailable if it is lost before.
        """
        outer = self._callers.transaction()
        if outer is not None:
            with inside(outer):
                yield outer.session
            return
        with self._opened().lend(self.timeout) as session:
            transaction = Transaction(session, self._callers.caller())
            with inside(transaction, isolation, read_only), self._callers.joinable(transaction):
                yield session

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
        joined = self._callers.transaction()
        if joined is not None:
            return self._execute(joined.session, query, params, fetch)
        try:
            return self._execute_alone(query, params, fetch)
        except (ReadOnlyServer, SchemaChanged) as error:
            if not self._worth_repeating(error):
                raise
        # It was refused, so it may be sent again: to the server that takes writes now, or to be understood anew.
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
        left = retries if self._callers.transaction() is None else 0
        while True:
            try:
                with self.transaction(isolation=isolation) as connection:
                    return function(connection, *args)
            except (errors.SerializationFailure, errors.DeadlockDetected, SchemaChanged):
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
        # Arrow takes a while to load, which those who insert nothing in bulk are spared.
        from callytics.postgres.bulk.insert import copy_rows

        # Counted inside the transaction: the wait for a connection is not the statement's time.
        with self.transaction() as session, self._translated(session), self._counters.counted():
            return copy_rows(session, table, columns, rows, self._callers.check_cancelled)

    def health_check(self) -> Health:
        """Check the database's health: returns within 2 seconds, and raises nothing if the database is unavailable."""
        probe = self._prober.probe()
        probe.done.wait(HEALTH_SECONDS)
        return probe.health(self.statistics())

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` of each statement from now on how many seconds it took and whether it failed.

        It is called in the thread and the context that ran the statement, and learns nothing of what that said.
        """
        self._counters.observer = observer

    def statistics(self) -> Statistics:
        """Return the pool's figures, without a query."""
        if self._lender is None:
            return Statistics(limit=self.settings.max_connections)
        counters, pool = self._counters, self._lender.pool
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
            waits_for_standby=self._prober.waits_for_standby,
        )

    async def in_thread(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Run a function that uses this manager in one of the pool's threads, and return its result.

        It joins the task's transaction. It waits for a place in the pool first, so that threads are never short.
        When the task is cancelled the function's query is, which raises psycopg.errors.QueryCanceled in it; the
        task ends after the function, or after 5 seconds where the server can't be reached.
        """
        return await self._callers.run(self._opened().pool, self.timeout, function, *args, **kwargs)

    async def in_thread_of(self, begin: Begin, function: Callable[[], Result]) -> Result:
        """Run a function that uses this manager in a thread that ``begin`` finds for it, and return its result.

        Other than with `in_thread` it joins no transaction and holds no place in the pool between its statements, so it
        may take its time. When the task is cancelled, it ends in the same way.
        """
        return await self._callers.run_apart(self._opened().pool, begin, function)

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
        joined = self._callers.transaction()
        if joined is not None:
            return await self._aexecute(joined.session, query, params, fetch)
        try:
            return await self._aexecute_alone(query, params, fetch)
        except (ReadOnlyServer, SchemaChanged) as error:
            if not self._worth_repeating(error):
                raise
        return await self._aexecute_alone(query, params, fetch)

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

    async def ahealth_check(self, seconds: float = HEALTH_SECONDS) -> Health:
        """Check the database's health as :meth:`health_check` does; what is not known by then is told as it seems."""
        probe = self._prober.probe()
        deadline = time.monotonic() + seconds
        # Polled: the thread that looks belongs to no event loop, and callers from several loops may share it.
        while not probe.done.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.002)
        return probe.health(self.statistics())

    @asynccontextmanager
    async def atransaction(
        self,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        first: Callable[[Session], Awaitable[None]] | None = None,
    ) -> AsyncIterator[Session]:
        """Hold a transaction across awaits, with the guarantees of :meth:`transaction`.

        Use the manager's coroutines inside: calls on the connection itself block the event loop. ``first`` is given
        the connection before a transaction begins on it, not where one is open: what it finds is not newer than what
        the transaction sees.
        """
        outer = self._callers.transaction()
        if outer is not None:
            async with ainside(outer):
                yield outer.session
            return
        async with self._opened().lend(self.timeout) as session:
            if first is not None:
                await first(session)
            transaction = Transaction(session, self._callers.caller())
            async with ainside(transaction, isolation, read_only):
                with self._callers.joinable(transaction):
                    yield session

    def _execute_alone(self, query: Query, params: Parameters, fetch: Fetch) -> Any:
        with self._opened().lend(self.timeout) as session:
            return self._execute(session, query, params, fetch)

    async def _aexecute_alone(self, query: Query, params: Parameters, fetch: Fetch) -> Any:
        async with self._opened().lend(self.timeout) as session:
            return await self._aexecute(session, query, params, fetch)

    def _execute(self, session: Session, query: Query, params: Parameters, fetch: Fetch) -> Any:
        # A cancellation that came between two statements found no query to stop.
        self._callers.check_cancelled()
        with self._counters.counted(), self._translated(session), session.answered():
            cursor = session.cursor(row_factory=FACTORIES[fetch])
            cursor.execute(query, params)
            return fetched(cursor, fetch)

    async def _aexecute(self, session: Session, query: Query, params: Parameters, fetch: Fetch) -> Any:
        with self._counters.counted(), self._translated(session), session.answered():
            cursor = session.cursor(row_factory=FACTORIES[fetch])
            await session.arun(cursor, query, params)
            return fetched(cursor, fetch)

    def _translated(self, session: Session) -> AbstractContextManager[None]:
        return translated(self.settings, owner=self.owner, connection=session)

    def _worth_repeating(self, error: DatabaseUnavailable) -> bool:
        return isinstance(error, SchemaChanged) or len(self.settings.hosts) > 1

    def _borrowed(self, timeout: float) -> AbstractContextManager[Session]:
        return self._opened().lend(timeout)

    def _opened(self) -> Lender:
        if self._lender is None:
            raise RuntimeError("the pool is not open: call initialize() first, or use 'with PostgreSQLManager(…)'")
        # After fork() both processes would read from the same sockets, each the other's answers.
        if self._process != os.getpid():
            raise RuntimeError("the pool was opened by another process, whose connections these are: open another")
        return self._lender

    def _connect(self) -> Session:
        return open_session(self.settings, owner=self.owner, statement_timeout=self.statement_timeout)
