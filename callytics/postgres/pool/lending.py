"""Lending a session of a pool to a thread or to a task, and what the errors of whoever has it mean."""

from __future__ import annotations

import asyncio
from types import TracebackType

from callytics.exceptions import ReadOnlyServer, SchemaChanged
from callytics.postgres.errors import ours
from callytics.postgres.pool.callers import Callers, Job
from callytics.postgres.pool.pool import Pool
from callytics.postgres.pool.sessions import Session, finish
from callytics.settings import Settings


class Lender:
    """Lends the sessions of a pool; a job that has brought its place waits for none."""

    def __init__(self, pool: Pool, callers: Callers, settings: Settings, *, owner: bool) -> None:
        self.pool = pool
        self.callers = callers
        self.settings = settings
        self.owner = owner

    def lend(self, timeout: float) -> Loan:
        """Return a block with a session; who finds none free waits so many seconds, then gets PoolExhausted."""
        return Loan(self, timeout)

    def judged(self, session: Session, error: BaseException) -> BaseException:
        """Act on what an error says about the server, and return ours for it, or itself where there is none."""
        found = ours(error, self.settings, owner=self.owner, connection=session) or error
        # Another host takes writes then, or another session once the database is set to again.
        others = len(self.settings.hosts) > 1 or session.read_only_by_default
        if session.closed or isinstance(found, SchemaChanged) or (others and isinstance(found, ReadOnlyServer)):
            self.pool.renew(session)
        return found


class Loan:
    """A block in which there is a session, for a thread by ``with`` and for a task by ``async with``."""

    def __init__(self, lender: Lender, timeout: float) -> None:
        self.lender = lender
        self.pool = lender.pool
        self.timeout = timeout
        self._job: Job | None = None
        self._brought = False
        self._previous: Session | None = None
        self._session: Session

    def __enter__(self) -> Session:
        self._job = self.lender.callers.job()
        self._brought = self._job is not None and self._job.bring()
        if not self._brought:
            self.pool.places.acquire(self.timeout)
        try:
            session = self._session = self.pool.take() or self.pool.open()
        except BaseException:
            self._give_place_back()
            raise
        try:
            if self._job is not None:
                self._previous = self._job.use(session)
        except BaseException:
            self._give_back()
            raise
        return session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        found = error and self.lender.judged(self._session, error)
        if self._job is not None:
            # Before the session goes back: a late cancellation would stop the query of whoever borrows it next.
            self._job.release(self._previous)
        self._give_back()
        if found is not error and found is not None:
            raise found from error

    async def __aenter__(self) -> Session:
        await self.pool.places.aacquire(self.timeout)
        try:
            session = self.pool.take()
        except BaseException:
            self.pool.places.release()
            raise
        self._session = session or await self._opened()
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session = self._session
        found = error and self.lender.judged(session, error)
        try:
            if not session.idle:
                await finish(session, session.aundo())
        finally:
            self._keep()
        if found is not error and found is not None:
            raise found from error

    async def _opened(self) -> Session:
        """Open a session in a thread: names are looked up, and hosts tried, by libpq."""
        try:
            future = self.lender.callers.start(self.pool.open)
        except BaseException:
            self.pool.places.release()
            raise
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(self._untake)
            raise
        except BaseException:
            self.pool.places.release()
            raise

    def _untake(self, opened: asyncio.Future[Session]) -> None:
        """Keep for others what arrived after its task was cancelled."""
        if not opened.cancelled() and opened.exception() is None:
            self.pool.keep(opened.result())
        self.pool.places.release()

    def _keep(self) -> None:
        try:
            self.pool.keep(self._session)
        finally:
            self.pool.places.release()

    def _give_back(self) -> None:
        try:
            self.pool.check_in(self._session)
        finally:
            self._give_place_back()

    def _give_place_back(self) -> None:
        if self._job is not None and self._brought:
            # Back to the job, whose next statement may need it; `Callers` releases it when the job has ended.
            self._job.place = True
        else:
            self.pool.places.release()
