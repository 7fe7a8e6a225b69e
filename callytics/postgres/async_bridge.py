"""Asyncio tasks on a pool of blocking connections: their functions run in threads on their behalf.

The caller decides which transaction a statement belongs to. The caller is the task, also in a thread that works for
one; any other thread is a caller of its own. Context variables carry transaction and job along. A child task or thread
inherits them with its context but must not use them, so that both record whose they are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from psycopg2.extensions import connection as Connection

from callytics.postgres.jobs import CANCEL_PATIENCE, Job, give_up, look
from callytics.postgres.transactions import Transaction

if TYPE_CHECKING:
    from sqlalchemy.pool import PoolProxiedConnection

    # SQLAlchemy takes a while to load, which commands without a pool are spared.
    from callytics.postgres.pool import Pool

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class AsyncBridge:
    """The threads of a pool, and what each caller has open in it."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        # Each manager has variables of its own: what runs in one database's transaction must not join another's.
        self._transaction: ContextVar[Transaction | None] = ContextVar("transaction", default=None)
        self._job: ContextVar[Job | None] = ContextVar("job", default=None)

    def open(self, threads: int) -> None:
        """Start with as many threads as the pool has places: a job holds a place, so it never waits for a thread."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="callytics-postgres")

    def close(self) -> None:
        """Start no more jobs; those that run are completed."""
        # A connection that is in use comes back later, by a thread of the event loop's own.
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def caller(self) -> object:
        """Return the caller: the task, the thread, or the task that a thread of the pool works for."""
        job = self.job()
        if job is not None:
            return job.owner
        try:
            return asyncio.current_task() or threading.get_ident()
        except RuntimeError:
            return threading.get_ident()

    def job(self) -> Job | None:
        """Return the job of this thread; one inherited from the thread that started this one does not count."""
        job = self._job.get()
        return job if job is not None and job.thread == threading.get_ident() else None

    def transaction(self) -> Transaction | None:
        """Return the caller's open transaction; one inherited through the context does not count."""
        transaction = self._transaction.get()
        return transaction if transaction is not None and transaction.owner == self.caller() else None

    @contextmanager
    def joinable(self, connection: Connection) -> Iterator[None]:
        """Let what the caller does in this block join the transaction."""
        token = self._transaction.set(Transaction(connection, self.caller()))
        try:
            yield
        finally:
            self._transaction.reset(token)

    def check_cancelled(self) -> None:
        """Raise QueryCanceled in a thread whose task was cancelled."""
        job = self.job()
        if job is not None:
            job.check()

    async def run(
        self,
        pool: Pool,
        timeout: float,
        function: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Run a function in a thread, once there is a place in the pool, and cancel its query with the task.

        Waits ``timeout`` seconds for a place, then raises PoolExhausted.
        """
        job = Job(self.caller())
        # Without its place beforehand, a job could hold a thread and wait for a connection that only a job without a
        # thread would give back. In a transaction the connection is there already.
        if self.transaction() is None:
            await pool.places.aacquire(timeout)
            job.place = True
        future = self.start(self._work, pool, job, function, *args, **kwargs)
        try:
            # Shielded, since the thread goes on whatever becomes of the task, and still uses the connection.
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await give_up(job, future)
            raise

    def start(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> asyncio.Future[Result]:
        """Begin a function in a thread of the pool, in a copy of the task's context."""
        call = partial(copy_context().run, function, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def finish(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Run in a thread what must not be left half done: even a cancelled task waits for its end."""
        future = self.start(function, *args, **kwargs)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait((future,), timeout=CANCEL_PATIENCE)
            future.add_done_callback(look)
            raise

    async def check_out(self, pool: Pool, timeout: float) -> PoolProxiedConnection:
        """Take a place and check a connection out, in a thread, since one may have to be opened."""
        await pool.places.aacquire(timeout)
        try:
            future = self.start(pool.check_out)
        except BaseException:
            pool.places.release()
            raise
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda taken: _untake(pool, taken))
            raise
        except BaseException:
            pool.places.release()
            raise

    async def check_in(self, pool: Pool, proxy: PoolProxiedConnection) -> None:
        """Return connection and place, in a thread, since an open transaction has to be rolled back."""
        await self.finish(_give_back, pool, proxy)

    def _work(
        self,
        pool: Pool,
        job: Job,
        function: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Run a job in one of the pool's threads; its place is freed when it has ended."""
        job.thread = threading.get_ident()
        # In the copy of the context that `start` made, which ends with the call: nothing to reset.
        self._job.set(job)
        try:
            job.check()
            joined = self.transaction()
            if joined is not None:
                job.use(joined.connection)
            return function(*args, **kwargs)
        finally:
            job.release(None)
            if job.place:
                pool.places.release()


def _give_back(pool: Pool, proxy: PoolProxiedConnection) -> None:
    try:
        pool.check_in(proxy)
    finally:
        pool.places.release()


def _untake(pool: Pool, taken: asyncio.Future[PoolProxiedConnection]) -> None:
    """Return a connection that arrived after its task was cancelled."""
    if not taken.cancelled() and taken.exception() is None:
        pool.check_in(taken.result())
    pool.places.release()
