"""The figures of a pool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Statistics:
    """The pool now (``size`` open connections, at most ``limit``), and what has happened in it; seconds are sums.

    ``waits_for_standby`` is what the last health check found: nothing is stored until a standby confirms it.
    """

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
    waits_for_standby: bool = False


# Told of each statement how many seconds it took and whether it failed, in the thread and context that ran it.
Observer = Callable[[float, bool], None]


@dataclass
class Counters:
    """The statements of a manager; ``seconds`` is a sum."""

    queries: int = 0
    errors: int = 0
    seconds: float = 0.0
    observer: Observer | None = None
    # An increment is three steps of the interpreter, between which another thread may run.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what runs inside as a statement, and as an error where an exception leaves the block."""
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            self.count(time.perf_counter() - began, failed=True)
            raise
        self.count(time.perf_counter() - began, failed=False)

    def count(self, seconds: float, *, failed: bool) -> None:
        """Count a statement that took so many seconds."""
        with self._lock:
            self.queries += 1
            self.errors += failed
            self.seconds += seconds
        if self.observer:
            self.observer(seconds, failed)
