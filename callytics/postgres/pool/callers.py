"""Who calls a manager, and what each caller has open in it; functions in threads on behalf of tasks of asyncio.

The caller decides which transaction a statement belongs to. The caller is the task, also in a thread that works for
one; any other thread is a caller of its own. Context variables carry transaction and job along. A child task or thread
inherits them with its context but must not use them, so that both record whose they are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, TypeVar

from psycopg import errors

from callytics.postgres.pool.cancelling import until_ended
from callytics.postgres.pool.pool import Pool
from callytics.postgres.pool.sessions import Session
from callytics.postgres.pool.transactions import Transaction

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Begin = Callable[[Callable[[], Any]], Future[Any]]
"""Takes a function and returns the future of its result, which a thread makes."""


@dataclass
class Job:
    """A function in one of the pool's threads: for whom, on which session, and whether it is still wanted.

    ``place`` tells whether it holds a place in the pool that no connection uses yet.
    """

    owner: object
    place: bool = False
    thread: int = 0
    cancelled: bool = False
    _session: Session | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bring(self) -> bool:
        """Give up the place that it holds for a connection, and tell whether there was one."""
        brought, self.place = self.place, False
        return brought

    def use(self, session: Session) -> Session | None:
        """Cancel queries on this session from now on, and return the previous one.

        Raises QueryCanceled if the task was cancelled already.
        """
        with self._lock:
            # Inside the lock: a cancellation that came before it is seen here, a later one finds the session.
            self.check()
            previous, self._session = self._session, session
            return previous

    def release(self, previous: Session | None) -> None:
        """Go back to the previous session: no query on the other is cancelled for us once this returns."""
        with self._lock:
            self._session = previous

    def check(self) -> None:
        """Raise QueryCanceled if the task was cancelled."""
        if self.cancelled:
            raise errors.QueryCanceled("the caller was cancelled")

    async def cancel(self) -> None:
        """Have the server stop what runs on the session, if anything does."""
        # Held until the server has been asked: the thread's `release` waits for that, and for a second at most.
        with self._lock:
            self.cancelled = True
            if self._session is not None:
                await self._session.acancel()

    def abandon(self) -> None:
        """Give up the session, so that the thread does not wait for a server that hangs."""
        with self._lock:
            if self._session is not None:
                self._session.abandon()


class Callers:
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
    def joinable(self, transaction: Transaction) -> Iterator[None]:
        """Let what the caller does in this block join the transaction."""
        token = self._transaction.set(transaction)
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
        # Without its place beforehand, a job could hold a thread and wait for a session that only a job without a
        # thread would give back. In a transaction the session is there already.
        if self.transaction() is None:
            await pool.places.aacquire(timeout)
            job.place = True
        return await _attended(job, self.start(self._work, pool, job, function, *args, **kwargs))

    async def run_apart(self, pool: Pool, begin: Begin, function: Callable[[], Result]) -> Result:
        """Run a function where ``begin`` says, outside the task's transaction, and cancel its query with the task."""
        # An owner of its own: what it does joins nothing.
        job = Job(object())
        begun = begin(partial(copy_context().run, self._work, pool, job, function))
        future: asyncio.Future[Result] = asyncio.wrap_future(begun)
        return await _attended(job, future)

    def start(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> asyncio.Future[Result]:
        """Begin a function in a thread of the pool, in a copy of the task's context."""
        call = partial(copy_context().run, function, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._threads, call)

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
                job.use(joined.session)
            return function(*args, **kwargs)
        finally:
            job.release(None)
            if job.place:
                pool.places.release()


async def _attended(job: Job, future: asyncio.Future[Result]) -> Result:
    """Return what a job's thread returns, and cancel its query with the task."""
    try:
        # Shielded, since the thread goes on whatever becomes of the task, and still uses the session.
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await until_ended(future, job.cancel, job.abandon)
        raise
