"""The places of a pool, and the one queue in which threads and tasks wait for them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from callytics.exceptions import PoolExhausted


class Waiter(Protocol):
    """A caller in the queue."""

    def admit(self) -> bool:
        """Tell the caller that a place is theirs; return False if they have gone."""


@dataclass(eq=False)
# Compared by identity: that is how the queue finds the one that gives up.
class WaitingThread:
    """A thread in the queue."""

    turn: threading.Event = field(default_factory=threading.Event)

    def admit(self) -> bool:
        """Let it in."""
        self.turn.set()
        return True


@dataclass(eq=False)
class WaitingTask:
    """A task of asyncio in the queue."""

    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None]

    def admit(self) -> bool:
        """Let it in; False when its loop was closed while it waited."""
        try:
            self.loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            return False
        return True

    def _wake(self) -> None:
        # The task may have been cancelled since it was told.
        if not self.turn.done():
            self.turn.set_result(None)


class FairSemaphore:
    """A semaphore for threads and tasks, which wait in one queue, first come, first served.

    Those of threading and asyncio serve one kind of caller each. With one of either, the pool's size would have to be
    divided between the two, and tasks could overtake threads.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.waits = 0
        self.wait_seconds = 0.0
        self.timeouts = 0
        self._free = size
        self._lock = threading.Lock()
        self._queue: deque[Waiter] = deque()

    @property
    def in_use(self) -> int:
        """How many places are taken."""
        return self.size - self._free

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._queue)

    def acquire(self, timeout: float) -> None:
        """Wait for a place, up to ``timeout`` seconds; raise PoolExhausted if there was none."""
        # Without a waiter at first: most callers find a place, and an Event costs more than that.
        if self._acquire():
            return
        waiter = WaitingThread()
        if self._acquire(waiter):
            return
        began = time.perf_counter()
        # The turn may have come just after the time was up: whoever has left the queue holds a place.
        acquired = waiter.turn.wait(timeout) or not self._leave_queue(waiter)
        self._count(time.perf_counter() - began, acquired)

    async def aacquire(self, timeout: float) -> None:
        """Wait as :meth:`acquire` does, without blocking the event loop."""
        if self._acquire():
            return
        loop = asyncio.get_running_loop()
        waiter = WaitingTask(loop, loop.create_future())
        if self._acquire(waiter):
            return
        began = time.perf_counter()
        try:
            await asyncio.wait((waiter.turn,), timeout=timeout)
        except asyncio.CancelledError:
            # Between the turn and the cancellation: the place is ours already, and nobody else would give it back.
            if not self._leave_queue(waiter):
                self.release()
            raise
        self._count(time.perf_counter() - began, waiter.turn.done() or not self._leave_queue(waiter))

    def release(self) -> None:
        """Give the place to the first in the queue, or free it."""
        with self._lock:
            while self._queue:
                # Handed over rather than freed: somebody who comes now must not overtake the queue.
                if self._queue.popleft().admit():
                    return
            self._free += 1

    def _acquire(self, waiter: Waiter | None = None) -> bool:
        """Take a free place, or queue up; return whether there was one."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            if waiter is not None:
                self._queue.append(waiter)
                self.waits += 1
            return False

    def _leave_queue(self, waiter: Waiter) -> bool:
        """Give up waiting; return False if the place was given meanwhile."""
        with self._lock:
            try:
                self._queue.remove(waiter)
            except ValueError:
                return False
            return True

    def _count(self, seconds: float, acquired: bool) -> None:
        with self._lock:
            self.wait_seconds += seconds
            self.timeouts += not acquired
        if not acquired:
            raise PoolExhausted(
                f"all connections to the database ({self.size}) were in use for {seconds:.1f} s, and "
                f"{self.waiting} more wait: raise POSTGRES_MAX_CONNECTIONS, or hold connections for less time"
            )
