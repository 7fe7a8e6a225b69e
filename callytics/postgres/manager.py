"""The one way to the database for the application: a pool for threads and coroutines alike."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection

from callytics.exceptions import CallyticsError, PoolExhausted, ReadOnlyServer
from callytics.postgres.errors import ours, translated, unreachable
from callytics.postgres.jobs import CANCEL_PATIENCE, Job, give_up, look
from callytics.postgres.transactions import Isolation, Transaction, begin, commit, forget_session, roll_back
from callytics.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.pool import PoolProxiedConnection

    # SQLAlchemy takes a while to load, which commands without a pool are spared.
    from callytics.postgres.pool import Pool, PooledConnection

Query = str | sql.Composable
Parameters = Sequence[Any] | Mapping[str, Any] | None
Row = dict[str, Any]
Fetch = Literal["all", "one", "val", "none"]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# A server that vanished without a word is noticed after half a minute, not after the kernel's two hours.
# https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-PARAMKEYWORDS
KEEPALIVES = {
    "keepalives": "1",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
# Seconds that a transaction may lie idle before the server ends it, and with it whatever it locks.
IDLE_IN_TRANSACTION = 300
# Seconds that a health check takes at most, and of these to wait for a connection; the promise is 2.
HEALTH_SECONDS = 1.5
HEALTH_WAIT = 1.0


@dataclass(frozen=True)
class Health:
    """How the database is: ``status`` is healthy or unhealthy, then with a reason that names no host and no role.

    ``size`` counts open connections, ``waiting`` callers that wait for one.
    """

    status: Literal["healthy", "unhealthy"]
    latency_ms: float
    server_version: str
    size: int
    in_use: int
    idle: int
    waiting: int
    reason: str | None = None


@dataclass(frozen=True)
class Statistics:
    """The pool now (``size`` open connections, at most ``limit``), and what has happened in it; seconds are sums."""

    size: int = 0
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    limit: int = 0
    queries: int = 0
    errors: int = 0
    query_seconds: float = 0.0
    waits: int = 0
    wait_seconds: float = 0.0
    timeouts: int = 0
    opened: int = 0
    closed: int = 0


@dataclass
class _Counters:
    """Statements of this manager; seconds are a sum."""

    queries: int = 0
    errors: int = 0
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, seconds: float, failed: bool) -> None:
        with self.lock:
            self.queries += 1
            self.errors += failed
            self.seconds += seconds


@dataclass
class _Probe:
    """One look at the database."""

    done: threading.Event = field(default_factory=threading.Event)
    reason: str | None = "the database does not answer"
    latency_ms: float = 0.0
    server_version: str = ""


class PostgreSQLManager:
    """PostgreSQL for threads and tasks, by one pool of at most POSTGRES_MAX_CONNECTIONS connections.

    The constructor stores; :meth:`initialize` opens POSTGRES_MIN_CONNECTIONS of them, :meth:`close` closes all;
    it is a context manager too. Methods that begin with ``a`` are coroutines: they don't hold up the event loop,
    and a cancelled one cancels its query.

    Whoever finds no free connection waits ``timeout`` seconds, then gets PoolExhausted. The server stops a
    statement after ``statement_timeout`` seconds (None: never), which raises TooSlow.
    DatabaseUnavailable: the database can't be reached, or was lost and nothing was stored; OutcomeUnknown, one of
    these: lost at a moment when only a look can tell; others as :mod:`callytics.postgres.errors` has them. What the
    server says about a statement and its values stays psycopg2.Error.
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
        self._threads: ThreadPoolExecutor | None = None
        self._process = 0
        self._counters = _Counters()
        self._transaction: ContextVar[Transaction | None] = ContextVar("transaction", default=None)
        self._job: ContextVar[Job | None] = ContextVar("job", default=None)
        self._probe_lock = threading.Lock()
        self._probe: _Probe | None = None

    def initialize(self) -> None:
        """Open the pool; raise DatabaseUnavailable with one line when there is no database. Once is enough."""
        if self._pool is not None:
            return
        from callytics.postgres.pool import Pool

        pool = Pool(self._connect, self.settings.max_connections)
        pool.fill(self.settings.min_connections)
        self._threads = ThreadPoolExecutor(self.settings.max_connections, thread_name_prefix="callytics-postgres")
        self._process = os.getpid()
        self._pool = pool

    def close(self) -> None:
        """Close every connection; one in use is closed when it comes back. Closing twice does nothing."""
        pool, threads = self._pool, self._threads
        self._pool = self._threads = None
        if pool is not None and threads is not None:
            pool.close()
            threads.shutdown(wait=False)

    def __enter__(self) -> PostgreSQLManager:
        self.initialize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def ainitialize(self) -> None:
        """Open the pool as :meth:`initialize` does."""
        await asyncio.to_thread(self.initialize)

    async def aclose(self) -> None:
        """Close the pool as :meth:`close` does."""
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
        """Lend a connection of its own, in autocommit, whatever transaction is open.

        What was SET on it, its locks and temporary tables end when it goes back.
        """
        with self._borrowed(self.timeout) as connection:
            try:
                yield connection
            finally:
                self._refresh(connection)

    @contextmanager
    def transaction(self, *, isolation: Isolation | None = None, read_only: bool = False) -> Iterator[Connection]:
        """Commit what is done inside, or nothing of it when an exception leaves the block.

        Everything of this manager that the same thread or task calls inside joins. A transaction inside one is a
        savepoint, in the outer one's isolation. Threads and tasks that are started inside have no part in it.
        Raises OutcomeUnknown when the connection is lost during COMMIT, DatabaseUnavailable when it is lost before.
        """
        outer = self._joined()
        if outer is not None:
            with outer.savepoint():
                yield outer.connection
            return
        with self._borrowed(self.timeout) as connection:
            begin(connection, isolation, read_only)
            with self._joinable(connection):
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
        """Run a statement: in the open transaction, or else in one round trip that commits it.

        Returns all rows or the first one as dicts, the first value of the first row, or the number of rows that it
        touched. Raises OutcomeUnknown when the connection is lost while it runs.
        """
        joined = self._joined()
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

        After a serialization failure or a deadlock it is run again, up to ``retries`` times. Inside an open
        transaction it runs once, in a savepoint: only the whole can be tried again.
        """
        left = retries if self._joined() is None else 0
        while True:
            try:
                with self.transaction(isolation=isolation) as connection:
                    return function(connection, *args)
            except (errors.SerializationFailure, errors.DeadlockDetected):
                if left <= 0:
                    raise
            left -= 1
            # At once they would meet again.
            time.sleep(random.uniform(0, 0.05))

    def bulk_insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Insert rows by COPY as they come, all or none, and return how many; joins an open transaction.

        ``table`` may have its schema before a dot. Values must be of the column's type: int, float, bool, str,
        bytes, Decimal, date, datetime (with a zone for timestamptz, without one for timestamp), time, timedelta,
        UUID, a list for an array, what json.dumps takes for json and jsonb, str for others. Raises RowRefused with
        the index of the row and its column, and without the value, for what does not fit.
        """
        from callytics.postgres.bulk import copy_rows

        with self.transaction() as connection, self._translated(connection), self._counted():
            return copy_rows(connection, table, columns, rows, self._check_wanted)

    def health_check(self) -> Health:
        """Ask the database how it is; answers within 2 seconds, and raises nothing when the database is away."""
        probe = self._probing()
        probe.done.wait(HEALTH_SECONDS)
        return self._health(probe)

    def statistics(self) -> Statistics:
        """Return the pool's numbers; the database is not asked."""
        counters, pool = self._counters, self._pool
        if pool is None:
            return Statistics(limit=self.settings.max_connections)
        size, in_use = pool.opened - pool.closed, pool.gate.inside
        return Statistics(
            size=size,
            in_use=in_use,
            idle=max(size - in_use, 0),
            waiting=pool.gate.waiting,
            limit=pool.gate.size,
            queries=counters.queries,
            errors=counters.errors,
            query_seconds=counters.seconds,
            waits=pool.gate.waits,
            wait_seconds=pool.gate.wait_seconds,
            timeouts=pool.gate.timeouts,
            opened=pool.opened,
            closed=pool.closed,
        )

    async def in_thread(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Run a function that uses this manager in one of the pool's threads, and return what it returns.

        It joins the task's transaction. It waits for a place in the pool first, so that threads are never short.
        When the task is cancelled the function's query is, which raises psycopg2.errors.QueryCanceled in it; the
        task ends after the function, or after 5 seconds where the server can't be reached.
        """
        pool, job = self._opened(), Job(self._me())
        if self._joined() is None:
            await pool.gate.aenter(self.timeout)
            job.place = True
        future = self._start(self._work, pool, job, function, *args, **kwargs)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await give_up(job, future)
            raise

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
        """Ask the database how it is, as :meth:`health_check` does."""
        probe = self._probing()
        deadline = time.monotonic() + HEALTH_SECONDS
        while not probe.done.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.002)
        return self._health(probe)

    @asynccontextmanager
    async def atransaction(
        self, *, isolation: Isolation | None = None, read_only: bool = False
    ) -> AsyncIterator[Connection]:
        """Hold a transaction across awaits, with all that :meth:`transaction` promises.

        Use it by the manager's coroutines: what is called on the connection itself holds up the event loop.
        """
        outer = self._joined()
        if outer is not None:
            async with self._asavepoint(outer):
                yield outer.connection
            return
        async with self._aborrowed() as connection:
            begin(connection, isolation, read_only)
            with self._joinable(connection):
                try:
                    yield connection
                except BaseException:
                    await self._finish(roll_back, connection)
                    raise
            await self._finish(commit, connection)

    @asynccontextmanager
    async def _asavepoint(self, outer: Transaction) -> AsyncIterator[None]:
        name = await self._finish(outer.open_savepoint)
        try:
            yield
        except BaseException:
            await self._finish(outer.undo, name)
            raise
        await self._finish(outer.keep, name)

    @asynccontextmanager
    async def _aborrowed(self) -> AsyncIterator[PooledConnection]:
        """Lend a connection of the pool; taken and given back in a thread, since both may have to ask the server."""
        pool = self._opened()
        proxy = await self._take(pool)
        connection = cast("PooledConnection", proxy.dbapi_connection)
        try:
            yield connection
        except BaseException as error:
            self._judge(pool, connection, error)
            raise
        finally:
            await self._finish(_give_back, pool, proxy)

    async def _take(self, pool: Pool) -> PoolProxiedConnection:
        await pool.gate.aenter(self.timeout)
        try:
            future = self._start(pool.check_out)
        except BaseException:
            pool.gate.leave()
            raise
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda taken: _untake(pool, taken))
            raise
        except BaseException:
            pool.gate.leave()
            raise

    @contextmanager
    def _borrowed(self, timeout: float) -> Iterator[PooledConnection]:
        """Lend a connection of the pool; a job that has brought a place does not wait for one."""
        pool, job = self._opened(), self._my_job()
        brought = job is not None and job.bring()
        if not brought:
            pool.gate.enter(timeout)
        try:
            with self._lent(pool, job) as connection:
                yield connection
        finally:
            if job is not None and brought:
                job.place = True
            else:
                pool.gate.leave()

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
                job.release(previous)
            pool.check_in(proxy)

    def _judge(self, pool: Pool, connection: Connection, error: BaseException) -> None:
        """Act on what an error says about the server, and raise ours for it."""
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
        self._check_wanted()
        with self._translated(connection), self._counted(), connection.cursor() as cursor:
            cursor.execute(query, params)
            return FETCH[fetch](cursor)

    def _translated(self, connection: Connection) -> AbstractContextManager[None]:
        return translated(self.settings, owner=self.owner, connection=connection)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            self._counters.count(time.perf_counter() - began, failed=True)
            raise
        self._counters.count(time.perf_counter() - began, failed=False)

    @contextmanager
    def _joinable(self, connection: Connection) -> Iterator[None]:
        """Let what the caller does in this block join the transaction."""
        token = self._transaction.set(Transaction(connection, self._me()))
        try:
            yield
        finally:
            self._transaction.reset(token)

    def _joined(self) -> Transaction | None:
        """Return the caller's open transaction; one that was merely inherited is none."""
        transaction = self._transaction.get()
        return transaction if transaction is not None and transaction.owner == self._me() else None

    def _me(self) -> object:
        """Return who calls: the task, the thread, or the task that a thread of the pool works for."""
        job = self._my_job()
        if job is not None:
            return job.owner
        try:
            return asyncio.current_task() or threading.get_ident()
        except RuntimeError:
            return threading.get_ident()

    def _my_job(self) -> Job | None:
        """Return the job of this thread; one that a thread started by it has inherited is none."""
        job = self._job.get()
        return job if job is not None and job.thread == threading.get_ident() else None

    def _check_wanted(self) -> None:
        """Raise QueryCanceled in a thread whose task was cancelled."""
        job = self._my_job()
        if job is not None:
            job.check()

    def _start(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> asyncio.Future[Result]:
        """Begin a function in a thread of the pool, in a copy of the task's context."""
        call = partial(copy_context().run, function, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _finish(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Run what must not be left half done in a thread: a cancelled task waits for its end."""
        future = self._start(function, *args, **kwargs)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait((future,), timeout=CANCEL_PATIENCE)
            future.add_done_callback(look)
            raise

    def _work(
        self,
        pool: Pool,
        job: Job,
        function: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do a job in one of the pool's threads; its place is free again when it has ended."""
        job.thread = threading.get_ident()
        self._job.set(job)
        try:
            job.check()
            joined = self._joined()
            if joined is not None:
                job.use(joined.connection)
            return function(*args, **kwargs)
        finally:
            job.release(None)
            if job.place:
                pool.gate.leave()

    def _opened(self) -> Pool:
        if self._pool is None:
            raise RuntimeError("the pool is not open: call initialize() first, or use 'with PostgreSQLManager(…)'")
        if self._process != os.getpid():
            raise RuntimeError("the pool was opened by another process, whose connections these are: open another")
        return self._pool

    def _connect(self) -> PooledConnection:
        from callytics.postgres.pool import PooledConnection

        parameters: dict[str, Any] = self.settings.parameters(owner=self.owner) | KEEPALIVES
        try:
            connection: PooledConnection = psycopg2.connect(None, connection_factory=PooledConnection, **parameters)
            connection.autocommit = True
            self._set_timeouts(connection)
        except psycopg2.OperationalError as error:
            raise unreachable(self.settings, self.owner, error) from None
        return connection

    def _refresh(self, connection: Connection) -> None:
        """Make a session like new, or close it: what was done on it stands either way."""
        try:
            forget_session(connection)
            self._set_timeouts(connection)
        except psycopg2.Error:
            connection.close()

    def _set_timeouts(self, connection: Connection) -> None:
        """Set the server's timeouts; not as startup options, which PgBouncer refuses."""
        if connection.closed:
            return
        milliseconds = int((self.statement_timeout or 0) * 1000)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, false),"
                " set_config('idle_in_transaction_session_timeout', %s, false)",
                (str(milliseconds), str(IDLE_IN_TRANSACTION * 1000)),
            )

    def _probing(self) -> _Probe:
        """Return the look that is under way, or begin one; there is never more than one."""
        with self._probe_lock:
            if self._probe is None or self._probe.done.is_set():
                self._probe = _Probe()
                threading.Thread(target=self._look, args=(self._probe,), daemon=True).start()
            return self._probe

    def _look(self, probe: _Probe) -> None:
        try:
            with self._borrowed(HEALTH_WAIT) as connection, connection.cursor() as cursor:
                began = time.perf_counter()
                cursor.execute("SELECT current_setting('server_version'), current_setting('transaction_read_only')")
                probe.server_version, read_only = cursor.fetchone() or ("", "")
                probe.latency_ms = (time.perf_counter() - began) * 1000
                probe.reason = "the database takes no writes" if read_only == "on" else None
        except PoolExhausted:
            probe.reason = "every connection to the database is in use"
        except (CallyticsError, psycopg2.Error):
            probe.reason = "the database can't be reached"
        except RuntimeError:
            probe.reason = "the pool of connections is not open"
        finally:
            probe.done.set()

    def _health(self, probe: _Probe) -> Health:
        now = self.statistics()
        reason = probe.reason if probe.done.is_set() else "the database does not answer"
        return Health(
            status="unhealthy" if reason else "healthy",
            latency_ms=probe.latency_ms,
            server_version=probe.server_version,
            size=now.size,
            in_use=now.in_use,
            idle=now.idle,
            waiting=now.waiting,
            reason=reason,
        )


def _give_back(pool: Pool, proxy: PoolProxiedConnection) -> None:
    try:
        pool.check_in(proxy)
    finally:
        pool.gate.leave()


def _untake(pool: Pool, taken: asyncio.Future[PoolProxiedConnection]) -> None:
    """Give back what arrived after its task was cancelled."""
    if not taken.cancelled() and taken.exception() is None:
        pool.check_in(taken.result())
    pool.gate.leave()


def _names(cursor: Any) -> list[str]:
    names = [column[0] for column in cursor.description]
    if len(set(names)) < len(names):
        raise ValueError(f"two columns have the same name, rename one with AS: {', '.join(names)}")
    return names


def _all(cursor: Any) -> list[Row]:
    if cursor.description is None:
        return []
    names = _names(cursor)
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _one(cursor: Any) -> Row | None:
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else dict(zip(_names(cursor), row, strict=True))


def _val(cursor: Any) -> Any:
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else row[0]


def _none(cursor: Any) -> int:
    count: int = cursor.rowcount
    return count


FETCH: Mapping[Fetch, Callable[[Any], Any]] = {"all": _all, "one": _one, "val": _val, "none": _none}
