"""A crew: steps of an import, done side by side by a few workers, each step when what it needs is done."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeVar

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import psycopg2
import pyarrow as pa
from psycopg2.extensions import connection as Connection

from callytics.importer.records.ledger import Ledger
from callytics.importer.target.catalogue import Target
from callytics.importer.target.load import ASYNCHRONOUS, Loader, Progress, import_arrow_connection, import_connection
from callytics.importer.target.verify import Verifier
from callytics.settings import Settings

WATCH_SECONDS = 0.5

T = TypeVar("T")


class Rank(IntEnum):
    """Which of the steps that could be done is done first."""

    NOTE = 0
    LOAD = 1
    BUILD = 2
    VERIFY = 3


@dataclass(order=True)
class Step:
    """Something to be done by one worker. Of the same rank the largest comes first: a crew should end together."""

    rank: Rank
    size: int = field(compare=False)
    do: Callable[[Worker], None] = field(compare=False)
    order: tuple[int, int] = field(init=False, default=(0, 0))


class Stopped(Exception):
    """Another worker failed."""


class Worker:
    """What one thread of a crew works with: two connections, opened when they are first needed.

    Their commits do not wait for the disk: whoever gives the crew its steps commits last, and that does.
    """

    def __init__(self, settings: Settings, advance: Progress) -> None:
        self.settings, self.advance = settings, advance
        self.doing = ""
        """What the server is busy with on the worker's behalf, for whoever asks how far it is."""

    @cached_property
    def rows(self) -> Connection:
        connection = import_connection(self.settings)
        with connection.cursor() as cursor:
            cursor.execute(ASYNCHRONOUS)
        connection.commit()
        return connection

    @property
    def pid(self) -> int:
        """The server's process of `rows`."""
        return int(self.rows.info.backend_pid)

    @cached_property
    def arrow(self) -> adbc_driver_postgresql.dbapi.Connection:
        connection = import_arrow_connection(self.settings)
        with connection.cursor() as cursor:
            cursor.execute(ASYNCHRONOUS)
        connection.commit()
        return connection

    @cached_property
    def loader(self) -> Loader:
        return Loader(self.rows, self.arrow, self.advance)

    @cached_property
    def verifier(self) -> Verifier:
        return Verifier(self.rows, self.arrow, self.advance)

    @cached_property
    def target(self) -> Target:
        return Target(self.rows)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.rows)

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
        if "rows" in self.__dict__:
            with suppress(psycopg2.Error):
                self.rows.cancel()
        if "arrow" in self.__dict__:
            with suppress(adbc_driver_manager.Error):
                self.arrow.adbc_cancel()

    def close(self) -> None:
        for name in ("arrow", "rows"):
            if name in self.__dict__:
                getattr(self, name).close()


class Crew:
    """Does steps by up to `jobs` workers in threads; the first error stops all of them and is raised by `run`."""

    def __init__(self, settings: Settings, jobs: int, progress: Progress) -> None:
        self.settings, self.jobs, self.progress = settings, jobs, progress
        self._steps: list[Step] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._busy = 0
        self._stopped = False
        self.totals: Counter[str] = Counter()
        """Rows of steps that several tables have in common: the same table of several files."""
        self._done: Counter[str] = Counter()
        self._workers: list[Worker] = []

    def add(self, steps: Sequence[Step], then: Callable[[], None]) -> None:
        """Have steps done; `then` is called by whoever does the last of them, and may add more."""
        if not steps:
            then()
            return
        remaining = itertools.count(len(steps) - 1, -1)

        def counted(do: Callable[[Worker], None]) -> Callable[[Worker], None]:
            def done(worker: Worker) -> None:
                do(worker)
                with self._changed:
                    last = next(remaining) == 0
                if last:
                    then()

            return done

        with self._changed:
            for step in steps:
                step.do, step.order = counted(step.do), (-step.size, next(self._numbers))
                heapq.heappush(self._steps, step)
            self._changed.notify_all()

    def run(self, watch: Callable[[Sequence[Worker]], None]) -> None:
        """Return when every step is done; meanwhile `watch` is called now and then with the workers."""
        # Arrow's own pools keep what a thread once used; malloc gives it back.
        pa.set_memory_pool(pa.system_memory_pool())
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._work) for _ in range(self.jobs)]
            try:
                while wait(futures, WATCH_SECONDS, FIRST_EXCEPTION).not_done and not self._stopped:
                    watch(self._workers)
            finally:
                self._stop()
        for error in filter(None, (future.exception() for future in futures)):
            if not isinstance(error, Stopped):
                raise error

    def _work(self) -> None:
        worker = Worker(self.settings, self._advance)
        with self._changed:
            self._workers.append(worker)
        try:
            while step := self._next():
                step.do(worker)
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()
        except BaseException:
            if self._stopped:
                # What a cancelled worker complains of is not why the crew stopped.
                raise Stopped from None
            self._stop(failed=True)
            raise
        finally:
            worker.close()

    def _next(self) -> Step | None:
        """Return the step to do next; None when there is none and nobody can add one any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._steps or not self._busy or self._stopped)
            if self._stopped or not self._steps:
                return None
            self._busy += 1
            return heapq.heappop(self._steps)

    def _stop(self, failed: bool = False) -> None:
        with self._changed:
            finished = not self._busy and not self._steps
            self._stopped = True
            self._changed.notify_all()
        if failed or not finished:
            for worker in self._workers:
                worker.cancel()

    def tell(self, what: str, done: int, total: int) -> None:
        """Tell how far something is that no worker counts."""
        with self._changed:
            self.progress(what, done, total)

    def _advance(self, what: str, rows: int, total: int) -> None:
        """Add up rows over all workers and tell how far it is; ends the caller where another worker failed."""
        with self._changed:
            if self._stopped:
                raise Stopped
            self._done[what] += rows
            self.progress(what, self._done[what], self.totals[what] or total)


def side_by_side(
    worker: Callable[[Progress], Any],
    step: Callable[[Any, Any], T],
    works: Sequence[Any],
    jobs: int,
    progress: Progress,
) -> list[T]:
    """Do every step, the largest table first, by up to `jobs` workers in threads; the first error stops all of them."""
    # Arrow's own pools keep what a thread once used; malloc gives it back.
    pa.set_memory_pool(pa.system_memory_pool())
    queue = deque(sorted(works, key=lambda work: work.record.source_rows, reverse=True))
    results: list[T] = []
    stop = threading.Event()
    lock = threading.Lock()

    def watched(what: str, done: int, total: int) -> None:
        if stop.is_set():
            raise InterruptedError("another table failed")
        with lock:
            progress(what, done, total)

    def work_off() -> None:
        try:
            with worker(watched) as one:
                while not stop.is_set():
                    with lock:
                        if not queue:
                            return
                        work = queue.popleft()
                    results.append(step(one, work))
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(work_off) for _ in range(min(jobs, len(works)))]
        try:
            wait(futures)
        except KeyboardInterrupt:
            stop.set()
            raise
    for error in filter(None, (future.exception() for future in futures)):
        if not isinstance(error, InterruptedError):
            raise error
    return results
