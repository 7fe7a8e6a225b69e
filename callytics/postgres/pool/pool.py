"""A bounded pool of sessions behind one queue of waiting threads and tasks.

psycopg_pool keeps a pool for threads and another for the tasks of one event loop, and lets callers wait where the
server is away. Here both share sessions and queue, whatever their loop, and who finds no server hears at once why.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres.pool.semaphore import FairSemaphore
from callytics.postgres.pool.sessions import Session


class Pool:
    """Sessions, at most ``size`` of them, opened when needed and kept; the one used last is used first.

    Acquire one of ``places`` before checking a session out, and release it once that is back. What is checked out is
    in autocommit, outside any transaction, and alive as far as this machine knows: where the server has ended the
    session another is opened, and in time another for each that is as old. ``is_over`` tells of which sessions the
    server leads no more.
    """

    def __init__(self, connect: Callable[[], Session], size: int, is_over: Callable[[Session], bool]) -> None:
        self.places = FairSemaphore(size)
        self.opened = 0
        self.closed = 0
        self._connect = connect
        self._is_over = is_over
        self._generation = 0
        self._over = False
        self._lock = threading.Lock()
        self._idle: deque[Session] = deque()

    def fill(self, number: int) -> None:
        """Open so many sessions; all or none."""
        try:
            for _ in range(number):
                self._idle.append(self.open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close idle connections now, and those in use when they are checked in."""
        self._over = True
        while session := self._pop():
            self._close(session)

    def take(self) -> Session | None:
        """Return an idle session, or None where one must be opened."""
        if self._over:
            raise DatabaseUnavailable("the pool of connections was closed: open another")
        while session := self._pop():
            if session.generation == self._generation and not self._is_over(session):
                if session.alive:
                    return session
                self.renew(session)
            self._close(session)
        return None

    def open(self) -> Session:
        """Open a session; raise DatabaseUnavailable when there is none to be had."""
        # Noted first: if the generation ends while this session opens, it may still have reached the old server.
        generation = self._generation
        session = self._connect()
        session.watch(generation)
        with self._lock:
            self.opened += 1
        return session

    def check_in(self, session: Session) -> None:
        """Take a session back; what is left of a transaction is undone, or the session is closed."""
        if not session.idle:
            session.undo()
        self.keep(session)

    def keep(self, session: Session) -> None:
        """Keep a session outside any transaction for the next, or close it where it is of no use any more."""
        session.in_transaction = session.readonly = False
        if not session.autocommit and not session.closed:
            session.autocommit = True
        outdated = session.generation != self._generation or self._is_over(session)
        if session.closed or session.doubtful or self._over or outdated:
            self._close(session)
            return
        self._idle.append(session)
        # `close` may have emptied the queue between the two lines above.
        if self._over:
            self.close()

    def renew(self, session: Session) -> None:
        """Retire every session of this one's generation; those in use are closed when they come back."""
        with self._lock:
            # Somebody else may have reported the same loss already, and what was opened since is good.
            if session.generation == self._generation:
                self._generation += 1

    def _pop(self) -> Session | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _close(self, session: Session) -> None:
        session.close()
        with self._lock:
            self.closed += 1
