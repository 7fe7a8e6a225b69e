"""The workers: the steps of a plan, done side by side, each step when what it waits for is done."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
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
from callytics.importer.target.connections import ASYNCHRONOUS, import_arrow_connection, import_connection
from callytics.importer.target.load import Loader
from callytics.importer.target.verify import Verifier
from callytics.settings import Settings

WATCH_SECONDS = 0.5


class Stopped(Exception):
    """Another worker failed, or the command was cancelled."""


class Worker:
    """What one thread works with: two connections, opened when they are first needed.

    Their commits do not wait for the disk: whoever runs the plan commits last, and that does. `advance` adds rows to
    what is done of something, `tell` says how far it is.
    """

    def __init__(self, settings: Settings, advance: Progress, tell: Progress) -> None:
        self.settings, self.advance, self.tell = settings, advance, tell
        self.doing = ""
        """What the server is busy with on the worker's behalf, for whoever asks how far it is."""

    @cached_property
    def connection(self) -> Connection:
        connection = import_connection(self.settings)
        with connection.cursor() as cursor:
            cursor.execute(ASYNCHRONOUS)
        connection.commit()
        return connection

    @property
    def pid(self) -> int:
        """The server's process of `connection`."""
        return int(self.connection.info.backend_pid)

    @cached_property
    def arrow(self) -> adbc_driver_postgresql.dbapi.Connection:
        connection = import_arrow_connection(self.settings)
        with connection.cursor() as cursor:
            cursor.execute(ASYNCHRONOUS)
        connection.commit()
        return connection

    @cached_property
    def loader(self) -> Loader:
        return Loader(self.connection, self.arrow, self.advance)

    @cached_property
    def verifier(self) -> Verifier:
        return Verifier(self.connection, self.arrow, self.advance)

    @cached_property
    def target(self) -> Target:
        return Target(self.connection)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.connection)

    @contextmanager
    def busy_with(self, what: str) -> Iterator[None]:
        """Say what the server does while the block waits for it."""
        self.advance(what, 0, 1)
        self.doing = what
        try:
            yield
        finally:
            self.doing = ""
        self.advance(what, 1, 1)

    @contextmanager
    def step(self, run: int, step: str, name: str, began: float | None = None) -> Iterator[None]:
        """Say what the server does, and note how long it took, or has taken since `began`."""
        began = began or time.monotonic()
        with self.busy_with(f"{step} {name}"):
            yield
        self.ledger.add_step(run, step, name, began, time.monotonic())

    def cancel(self) -> None:
        """Interrupt what the server does for this worker; called from another thread."""
        if "connection" in self.__dict__:
            with suppress(psycopg2.Error):
                self.connection.cancel()
        if "arrow" in self.__dict__:
            with suppress(adbc_driver_manager.Error):
                self.arrow.adbc_cancel()

    def close(self) -> None:
        for name in ("arrow", "connection"):
            if name in self.__dict__:
                getattr(self, name).close()


Action = Callable[[Worker, Any], None]
"""What is done for a step: given a worker and the step's subject."""


class WorkerPool:
    """Does the steps of one plan by up to `jobs` workers in threads; the first error stops all of them.

    `actions` has a method for each kind of step. Of the steps that could be done, those of the lowest rank come first,
    and of these the largest.
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
        """Return when every step is done; meanwhile `watch` is called now and then with the workers.

        Raises what a step raised, and `Interrupted` where the command was cancelled.
        """
        # Arrow's own pools keep what a thread once used; malloc gives it back.
        pa.set_memory_pool(pa.system_memory_pool())
        jobs = min(self.options.jobs, max(1, len(self.plan.steps)))
        with self.options.cancellation.reaches(self._stop), ThreadPoolExecutor(jobs) as threads:
            futures = [threads.submit(self._work) for _ in range(jobs)]
            try:
                while wait(futures, WATCH_SECONDS, FIRST_EXCEPTION).not_done and not self._stopped:
                    watch(self._workers)
            finally:
                self._stop()
        for error in filter(None, (future.exception() for future in futures)):
            if not isinstance(error, Stopped):
                raise error
        if self._sorter.is_active():
            raise Interrupted("interrupted")

    def tell(self, what: str, done: int, total: int) -> None:
        """Tell how far something is that no worker counts."""
        with self._changed:
            self.progress(what, done, total)

    def _work(self) -> None:
        worker = Worker(self.settings, self._advance, self._tell)
        with self._changed:
            self._workers.append(worker)
        try:
            while step := self._next():
                self.actions[step.kind](worker, step.subject)
                with self._changed:
                    self._sorter.done(step)
                    self._enqueue()
                    self._changed.notify_all()
        except BaseException:
            if self._stopped:
                # What a cancelled worker complains of is not why the workers stopped.
                raise Stopped from None
            self._stop(failed=True)
            raise
        finally:
            worker.close()

    def _enqueue(self) -> None:
        for step in self._sorter.get_ready():
            heapq.heappush(self._ready, (step.kind.rank, -step.size, next(self._numbers), step))

    def _next(self) -> Step | None:
        """Return the step to do next; None when there is none and none will be."""
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
        """Add up rows over all workers and tell how far it is; ends the caller where another worker failed."""
        with self._changed:
            if self._stopped:
                raise Stopped
            self._done[what] += rows
            self.progress(what, self._done[what], self.plan.totals[what] or total)

    def _tell(self, what: str, done: int, total: int) -> None:
        """Tell how far something is that one worker does; ends it where another worker failed."""
        with self._changed:
            if self._stopped:
                raise Stopped
            self.progress(what, done, total)
