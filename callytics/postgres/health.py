"""How the database is, told in a bounded time and by one connection at most, whoever asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import psycopg2
from psycopg2.extensions import connection as Connection

from callytics.exceptions import CallyticsError, PoolExhausted
from callytics.postgres.statistics import Statistics

# Seconds that a health check takes at most, and of these to wait for a connection; the promise is 2.
HEALTH_SECONDS = 1.5
HEALTH_WAIT = 1.0
# transaction_read_only is on for a standby, and where default_transaction_read_only was set: both take no writes.
QUESTION = "select current_setting('server_version'), current_setting('transaction_read_only')"

Borrow = Callable[[float], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Health:
    """How the database is: ``status`` is healthy or unhealthy, then with a reason that names no host and no role.

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
    """One look at the database."""

    done: threading.Event = field(default_factory=threading.Event)
    reason: str | None = "the database does not answer"
    latency_ms: float = 0.0
    server_version: str = ""

    def health(self, now: Statistics) -> Health:
        """Return what it has found until now: a look that has not ended is an answer as well."""
        reason = self.reason if self.done.is_set() else "the database does not answer"
        return Health(
            status="unhealthy" if reason else "healthy",
            latency_ms=self.latency_ms,
            server_version=self.server_version,
            size=now.size,
            in_use=now.in_use,
            idle=now.idle,
            waiting=now.waiting,
            reason=reason,
        )


class Prober:
    """Looks at the database in a thread of its own, which nobody has to wait for.

    There is never more than one: a database that hangs would otherwise keep a thread, and a connection, of every
    health check. The thread is none of the pool's, since these may all be waiting for the same database.
    """

    def __init__(self, borrow: Borrow) -> None:
        self._borrow = borrow
        self._lock = threading.Lock()
        self._probe: Probe | None = None

    def probe(self) -> Probe:
        """Return the look that is under way, or begin one."""
        with self._lock:
            if self._probe is None or self._probe.done.is_set():
                self._probe = Probe()
                threading.Thread(target=self._look, args=(self._probe,), daemon=True).start()
            return self._probe

    def _look(self, probe: Probe) -> None:
        try:
            with self._borrow(HEALTH_WAIT) as connection, connection.cursor() as cursor:
                began = time.perf_counter()
                cursor.execute(QUESTION)
                probe.server_version, read_only = cursor.fetchone() or ("", "")
                probe.latency_ms = (time.perf_counter() - began) * 1000
                probe.reason = "the database takes no writes" if read_only == "on" else None
        except PoolExhausted:
            probe.reason = "every connection to the database is in use"
        except (CallyticsError, psycopg2.Error):
            probe.reason = "the database can't be reached"
        # What the manager raises before `initialize` and after `close`.
        except RuntimeError:
            probe.reason = "the pool of connections is not open"
        finally:
            probe.done.set()
