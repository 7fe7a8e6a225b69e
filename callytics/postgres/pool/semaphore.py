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
    """A caller in the queue since a moment of `time.perf_counter`."""

    began: float

    def admit(self) -> bool:
        """Tell the caller that a place is theirs; return False if they have gone."""


@dataclass(eq=False)
# Compared by identity: that is how the queue finds the one that gives up.
class WaitingThread:
    """A thread in the queue, which waits for a lock that is held: an Event has another lock around its own."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.turn.acquire()

    def admit(self) -> bool:
        """Let it in."""
        self.turn.release()
        return True


@dataclass(eq=False)
class WaitingTask:
    """A task of asyncio in the queue."""

    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None]
    began: float = field(default_factory=time.perf_counter)

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
        # Most callers find a place, and what waits in the queue costs more to make than that.
        if self._acquire():
            return
        waiter = WaitingThread()
        if self._acquire(waiter):
            return
        try:
            admitted = waiter.turn.acquire(timeout=max(timeout, 0))
        except BaseException:
            self._give_up(waiter)
            raise
        # The turn may have come just after the time was up: whoever has left the queue holds a place.
        if not admitted and self._leave_queue(waiter):
            raise self._exhausted(waiter)

    async def aacquire(self, timeout: float) -> None:
        """Wait as :meth:`acquire` does, without blocking the event loop."""
        if self._acquire():
            return
        loop = asyncio.get_running_loop()
        waiter = WaitingTask(loop, loop.create_future())
        if self._acquire(waiter):
            return
        try:
            await asyncio.wait((waiter.turn,), timeout=timeout)
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        if not waiter.turn.done() and self._leave_queue(waiter):
            raise self._exhausted(waiter)

    def release(self) -> None:
        """Give the place to the first in the queue, or free it."""
        with self._lock:
            while self._queue:
                # Handed over rather than freed: somebody who comes now must not overtake the queue.
                waiter = self._queue.popleft()
                if waiter.admit():
                    # Counted here, where the lock is held: the waiter would have to take it once more.
                    self.wait_seconds += time.perf_counter() - waiter.began
                    return
            self._free += 1

    def _acquire(self, waiter: Waiter | None = None) -> bool:
        """Take a free place, or queue up; return whether there was one."""
        if waiter is None and not self._free:
            return False
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

    def _give_up(self, waiter: Waiter) -> None:
        """Leave the queue for an exception: a place that was given meanwhile would be given back by nobody else."""
        if not self._leave_queue(waiter):
            self.release()

    def _exhausted(self, waiter: Waiter) -> PoolExhausted:
        """Count a caller for whom no place was left, and return what to tell them."""
        seconds = time.perf_counter() - waiter.began
        with self._lock:
            self.wait_seconds += seconds
            self.timeouts += 1
        return PoolExhausted(
            f"all connections to the database ({self.size}) were in use for {seconds:.1f} s, and "
            f"{self.waiting} more wait: raise POSTGRES_MAX_CONNECTIONS, or hold connections for less time"
        )
