"""Turns at work that is costly: few at once, not many waiting, the most trusted first."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from callytics.exceptions import TooManyLogins

# At ten hashes a second the last one waits less than two seconds.
MOST_WAITING = 16
# Whoever waits behind better ones for longer is told to come again.
MOST_SECONDS = 5.0

Result = TypeVar("Result")


@dataclass(order=True)
class _Turn:
    rank: int
    number: int
    work: Callable[[], Any] = field(compare=False)
    future: Future[Any] = field(compare=False, default_factory=Future)
    since: float = field(compare=False, default_factory=time.monotonic)


class Turns:
    """Threads of their own for at most ``at_once`` works; ``most`` others wait, by rank and then by arrival.

    One too many makes the last of the worst rank give up, by TooManyLogins: whoever sends many guesses only displaces
    other guesses. Thread-safe, and of no event loop.
    """

    def __init__(self, at_once: int, most: int = MOST_WAITING) -> None:
        self.most = most
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="login")
        self._lock = threading.Lock()
        self._numbers = count()
        self._waiting: list[_Turn] = []

    @property
    def crowded(self) -> bool:
        """Whether somebody waits, so that the rank of the next one matters."""
        return bool(self._waiting)

    def take(self, work: Callable[[], Result], rank: int = 1) -> Future[Result]:
        """Return the future result of ``work``; whoever waits longest at the lowest rank is next."""
        turn = _Turn(rank, next(self._numbers), work)
        with self._lock:
            insort(self._waiting, turn)
            displaced = self._displaced()
        for one in displaced:
            if one.future.set_running_or_notify_cancel():
                one.future.set_exception(TooManyLogins())
        # Also after a displacement: a thread that finds nobody waiting is free again at once.
        self._threads.submit(self._next)
        return turn.future

    def _displaced(self) -> list[_Turn]:
        """Take out whom nobody will serve: who waited too long, and of the others those who are too many."""
        late = time.monotonic() - MOST_SECONDS
        # One that was cancelled holds no place.
        waiting = [one for one in self._waiting if not one.future.cancelled()]
        served = [one for one in waiting if one.since > late][: self.most]
        self._waiting[:] = served
        return [one for one in waiting if one not in served]

    def _next(self) -> None:
        with self._lock:
            turn = self._waiting.pop(0) if self._waiting else None
        if turn is None or not turn.future.set_running_or_notify_cancel():
            return
        try:
            turn.future.set_result(turn.work())
        except BaseException as error:
            turn.future.set_exception(error)
