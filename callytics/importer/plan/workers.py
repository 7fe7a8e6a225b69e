"""The workers: they execute the steps of a plan in parallel, each step as soon as those it waits for are done."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import psycopg2
import pyarrow as pa
from psycopg2.extensions import connection as Connection

from callytics.exceptions import Interrupted
from callytics.importer.options import Options, Progress
from callytics.importer.plan.graph import Kind, Plan, Step
from callytics.importer.records.ledger import Ledger
from callytics.importer.target.catalogue import Target
from callytics.postgres.errors import sqlstate, unreachable
from callytics.postgres.session import STARTUP, begun, closing_on_error, settle
from callytics.schema.readiness.importing import SQL, import_connection
from callytics.settings import Settings

# How often the caller of the pool gets to look at the workers.
WATCH_SECONDS = 0.5
# For a session whose commits need not wait for the disk, because a later one of another session does. A crash of the
# server takes away the end of what was committed, never something from the middle: checkpoints go with their rows, and
# an index with the note that it is back.
ASYNCHRONOUS = "set synchronous_commit = off"
# The schema has none but PostgreSQL's own types. The driver would read all that there are with each connection, for
# 80 ms of a processor: tables are types, too, and have columns.
TYPES = {"adbc.postgresql.type_resolver_mode": "builtin"}

# What becomes of a statement in a transaction that has failed already, or as of a moment that went with one.
CONSEQUENCES = frozenset({"25P02", "55000"})
CAUSE_SECONDS = 10.0


class Stopped(Exception):
    """Ends a worker because another one failed or the command was cancelled; never leaves the pool."""


class Worker:
    """The connections of one thread, opened when they are first needed, and what works on them.

    ``connection`` is psycopg2's, for single rows, records and statements; ``arrow`` is ADBC's, for COPY. They share no
    transaction, so each writes the checkpoint of what it does itself. ``advance`` adds rows to a progress label,
    ``tell`` sets how far one is.

    Commits do not wait for the disk. That is safe because a crash of the server loses the end of what was committed,
    never something in the middle: rows and their checkpoint are lost together, and are loaded again. The verdict,
    which the session commits at the end, waits for the disk and thereby for everything before it.
    """

    def __init__(self, settings: Settings, advance: Progress, tell: Progress) -> None:
        self.settings, self.advance, self.tell = settings, advance, tell
        # The statement that the server executes for this worker, as progress names it.
        self.doing = ""

    @cached_property
    def connection(self) -> Connection:
        """Return psycopg2's connection, as the owner; raises DatabaseUnavailable."""
        connection = import_connection(self.settings)
        _commit_unsynchronised(connection)
        return connection

    @property
    def pid(self) -> int:
        """The process id of the server's backend for ``connection``."""
        return int(self.connection.info.backend_pid)

    @cached_property
    def arrow(self) -> adbc_driver_postgresql.dbapi.Connection:
        """Return ADBC's connection, as the owner."""
        connection = _arrow_connection(self.settings)
        _commit_unsynchronised(connection)
        return connection

    @cached_property
    def target(self) -> Target:
        """Return the catalogue as this worker's connection sees it."""
        return Target(self.connection)

    @cached_property
    def ledger(self) -> Ledger:
        """Return the records as this worker's connection sees them."""
        return Ledger(self.connection)

    @contextmanager
    def busy_with(self, what: str) -> Iterator[None]:
        """Report, before and after, a statement on which the block waits without counting rows."""
        self.advance(what, 0, 1)
        self.doing = what
        try:
            yield
        finally:
            self.doing = ""
        self.advance(what, 1, 1)

    @contextmanager
    def step(self, run: int, step: str, name: str, began: float | None = None) -> Iterator[None]:
        """Report a statement and record how long the block took, in seconds from ``began`` if that is given."""
        began = began or time.monotonic()
        with self.busy_with(f"{step} {name}"):
            yield
        self.ledger.add_step(run, step, name, began, time.monotonic())

    def cancel(self) -> None:
        """Cancel what the server does for this worker; called from another thread."""
        # cached_property would open a connection only to cancel it: ask for those that are there.
        if "connection" in self.__dict__:
            with suppress(psycopg2.Error):
                self.connection.cancel()
        if "arrow" in self.__dict__:
            with suppress(adbc_driver_manager.Error):
                self.arrow.adbc_cancel()

    def close(self) -> None:
        """Close the connections that were opened; what is not committed on them is gone."""
        with ExitStack() as stack:
            for name in ("connection", "arrow"):
                if name in self.__dict__:
                    stack.callback(getattr(self, name).close)


def _arrow_connection(settings: Settings) -> adbc_driver_postgresql.dbapi.Connection:
    """Open the owner's ADBC connection for an import, with the session that `import_connection` has too.

    Raises DatabaseUnavailable.
    """
    conninfo = settings.conninfo(owner=True)
    try:
        return begun(lambda options: _opened(conninfo, options), _settle, adbc_driver_manager.OperationalError)
    except adbc_driver_manager.OperationalError as error:
        raise unreachable(settings, True, error) from None


def _opened(conninfo: str, options: str) -> adbc_driver_postgresql.dbapi.Connection:
    with suppress(adbc_driver_manager.OperationalError):
        return adbc_driver_postgresql.dbapi.connect(f"{conninfo} options='{options}'", TYPES)
    # The driver asks for the server's version as it connects, which a time limit may end.
    return adbc_driver_postgresql.dbapi.connect(f"{conninfo} options='{options or STARTUP}'", TYPES)


def _settle(connection: adbc_driver_postgresql.dbapi.Connection) -> None:
    with connection.cursor() as cursor:
        settle(cursor)
        cursor.execute(SQL["session"])
        # The driver runs a query only as its rows are fetched.
        cursor.fetchall()
    connection.commit()


def _commit_unsynchronised(connection: Connection | adbc_driver_postgresql.dbapi.Connection) -> None:
    with closing_on_error(connection), connection.cursor() as cursor:
        cursor.execute(ASYNCHRONOUS)
        connection.commit()


# What a kind of step does, given a worker and the step's subject.
Action = Callable[[Worker, Any], None]


class WorkerPool:
    """Executes the steps of one plan with up to ``jobs`` workers in threads; the first error stops all of them.

    ``actions`` has a function for each kind of step. Of the steps that are ready, those of the lowest rank come first,
    and of these the largest. A pool runs once.
    """

    def __init__(
        self, settings: Settings, options: Options, progress: Progress, plan: Plan, actions: Mapping[Kind, Action]
    ) -> None:
        self.settings, self.options, self.progress = settings, options, progress
        self.plan, self.actions = plan, actions
        self._sorter: TopologicalSorter[Step] = plan.sorter()
        self._ready: list[tuple[int, int, int, Step]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._done: Counter[str] = Counter()
        self._workers: list[Worker] = []
        self._enqueue()

    def run(self, watch: Callable[[Sequence[Worker]], None] = lambda workers: None) -> None:
        """Return when every step is done; ``watch`` is called every half second with the workers.

        Raises the first error of a step, or ``Interrupted`` if the command was cancelled. Statements of other workers
        are cancelled then, and their connections are closed before this returns or raises.
        """
        # Arrow's default pools keep the memory that a thread once used; malloc returns it.
        pa.set_memory_pool(pa.system_memory_pool())
        # More workers than steps would only open connections.
        jobs = min(self.options.jobs, max(1, len(self.plan.steps)))
        with self.options.cancellation.reaches(self._stop), ThreadPoolExecutor(jobs) as threads:
            futures = [threads.submit(self._work) for _ in range(jobs)]
            try:
                while wait(futures, WATCH_SECONDS, FIRST_EXCEPTION).not_done and not self._stopped:
                    watch(self._workers)
            finally:
                # Also if ``watch`` raised: leaving the block waits for the threads, which would do the whole plan.
                self._stop()
        for error in filter(None, (future.exception() for future in futures)):
            if not isinstance(error, Stopped):
                raise error
        if self._sorter.is_active():
            raise Interrupted("interrupted")

    def tell(self, what: str, done: int, total: int) -> None:
        """Report how far something is that no worker counts."""
        with self._changed:
            self.progress(what, done, total)

    def _work(self) -> None:
        worker = Worker(self.settings, self._advance, self._tell)
        with self._changed:
            # Before its first step, so that a cancellation reaches its connections.
            self._workers.append(worker)
        try:
            while step := self._next():
                self.actions[step.kind](worker, step.subject)
                with self._changed:
                    self._sorter.done(step)
                    self._enqueue()
                    self._changed.notify_all()
        except BaseException as error:
            if sqlstate(error) in CONSEQUENCES:
                # Several workers use the session's transaction: whoever made it fail is about to say why.
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, CAUSE_SECONDS)
            if self._stopped:
                # A cancelled statement fails, too; its error must not hide the one that stopped the workers.
                raise Stopped from None
            self._stop(failed=True)
            raise
        finally:
            worker.close()

    def _enqueue(self) -> None:
        for step in self._sorter.get_ready():
            # The number keeps the plan's order among equals, and keeps heapq from comparing steps, which have no order.
            heapq.heappush(self._ready, (step.kind.rank, -step.size, next(self._numbers), step))

    def _next(self) -> Step | None:
        """Wait for a step that is ready; None once all are done or the pool has stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or not self._sorter.is_active() or self._stopped)
            if self._stopped or not self._ready:
                return None
            return heapq.heappop(self._ready)[-1]

    def _stop(self, failed: bool = False) -> None:
        with self._changed:
            finished = not self._sorter.is_active()
            self._stopped = True
            self._changed.notify_all()
        if failed or not finished:
            for worker in self._workers:
                worker.cancel()

    def _advance(self, what: str, rows: int, total: int) -> None:
        """Add rows to what all workers have done and report the sum; ends the caller if the pool has stopped."""
        with self._changed:
            # A worker that converts rows notices a stop only here: it waits for nothing that could be cancelled.
            if self._stopped:
                raise Stopped
            self._done[what] += rows
            self.progress(what, self._done[what], self.plan.totals[what] or total)

    def _tell(self, what: str, done: int, total: int) -> None:
        """Report how far something is that one worker does; ends the caller if the pool has stopped."""
        with self._changed:
            if self._stopped:
                raise Stopped
            self.progress(what, done, total)
