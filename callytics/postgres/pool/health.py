"""The database's health, checked within a bounded time and by one connection at most, however many callers ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal

import psycopg

from callytics.exceptions import CallyticsError, OutcomeUnknown, PoolExhausted, ReadOnlyServer
from callytics.postgres.pool.sessions import Session
from callytics.postgres.pool.statistics import Statistics

# Seconds that a health check takes at most, and of these to wait for a connection; the promise is 2.
HEALTH_SECONDS = 1.5
HEALTH_WAIT = 1.0
# Seconds until a look gives up its connection, so that the next one has another: on this one the kernel repeats what
# it sent more and more rarely, and would notice half a minute late that the network is back.
LOOK_SECONDS = 5.0
# transaction_read_only is on for a standby, and where default_transaction_read_only was set: both take no writes.
QUESTION = """
select
    current_setting('server_version'),
    current_setting('transaction_read_only'),
    current_setting('synchronous_standby_names')
"""
# The least that is committed as any row is: one that nobody reads, in the server's log alone.
WRITE = "select pg_logical_emit_message(true, 'callytics', '')"
WAITS = "the database stores nothing: it waits for a standby"
# Seconds until a look gives up its write, which the server would otherwise wait with for as long as standbys are away.
WRITE_SECONDS = 3.0

Borrow = Callable[[float], AbstractContextManager[Session]]


@dataclass(frozen=True)
class Health:
    """The database's health; an unhealthy ``status`` comes with a reason, which names neither host nor role.

    ``size`` counts open connections, ``waiting`` callers that wait for one.
    """

    status: Literal["healthy", "unhealthy"]
    latency_ms: float
    server_version: str
    size: int
    in_use: int
    idle: int
    waiting: int
    reason: str | None = None


@dataclass
class Probe:
    """One check of the database."""

    done: threading.Event = field(default_factory=threading.Event)
    reason: str | None = "the database does not answer"
    latency_ms: float = 0.0
    server_version: str = ""

    def health(self, now: Statistics) -> Health:
        """Return what is known so far: what a check that has not ended is waiting for is an answer, too."""
        return Health(
            status="unhealthy" if self.reason else "healthy",
            latency_ms=self.latency_ms,
            server_version=self.server_version,
            size=now.size,
            in_use=now.in_use,
            idle=now.idle,
            waiting=now.waiting,
            reason=self.reason,
        )


class Prober:
    """Checks the database in a thread of its own, so that no caller has to wait for it.

    There is never more than one: with a database that hangs, every health check would otherwise hold a thread and a
    connection. The thread is not one of the pool's, which may all be waiting for the same database.
    """

    def __init__(self, borrow: Borrow) -> None:
        self._borrow = borrow
        self._lock = threading.Lock()
        self._probe: Probe | None = None
        # What the last look found that could tell.
        self.waits_for_standby = False

    def probe(self) -> Probe:
        """Return the check in progress, or start one."""
        with self._lock:
            if self._probe is None or self._probe.done.is_set():
                self._probe = Probe()
                threading.Thread(target=self._look, args=(self._probe,), daemon=True).start()
            return self._probe

    def _look(self, probe: Probe) -> None:
        try:
            with self._borrow(HEALTH_WAIT) as session, _given_up(session):
                began = time.perf_counter()
                cursor = session.execute(QUESTION)
                probe.server_version, read_only, standbys = cursor.fetchone() or ("", "", "")
                probe.latency_ms = (time.perf_counter() - began) * 1000
                if read_only == "on":
                    # To the pool too, whose sessions may be the last ones that are.
                    raise psycopg.errors.ReadOnlySqlTransaction
                # Reading says nothing about that: a primary without its standbys answers every question.
                probe.reason = WAITS if standbys else None
                if standbys and _stored(session):
                    probe.reason = None
                self.waits_for_standby = probe.reason == WAITS
        except ReadOnlyServer:
            probe.reason = "the database takes no writes"
        except PoolExhausted:
            probe.reason = "every connection to the database is in use"
        except (CallyticsError, psycopg.Error):
            probe.reason = "the database can't be reached"
        # What the manager raises before `initialize` and after `close`.
        except RuntimeError:
            probe.reason = "the pool of connections is not open"
        finally:
            probe.done.set()


def _stored(session: Session) -> bool:
    """Tell whether the server can store something, within a bounded time."""
    timer = threading.Timer(WRITE_SECONDS, session.cancel_safe, kwargs={"timeout": 1.0})
    timer.daemon = True
    timer.start()
    try:
        session.execute(WRITE)
    except OutcomeUnknown:
        return False
    finally:
        timer.cancel()
    return True


@contextmanager
def _given_up(session: Session) -> Iterator[None]:
    """Give a session up where the block takes too long: whoever waits for its answer hears that it is lost."""
    timer = threading.Timer(LOOK_SECONDS, session.abandon)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
