"""Never back to a former primary once this process has met its successor.

Each promotion begins a timeline with a higher number. A primary that was frozen, or that nobody could stop, accepts
writes as before once it goes on: it stores nothing, as no standby confirms that, but it would be read from.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import cache

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres.pool import sessions
from callytics.postgres.pool.sessions import Session
from callytics.postgres.position import Position
from callytics.settings import Settings


@dataclass
class Succession:
    """Who has led some hosts, as far as this process has met them: all pools of the same hosts share one."""

    _newest: Position | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, settings: Settings) -> Succession:
        """Return that of the settings' hosts, in whatever order they are tried."""
        # A copy on other hosts is of the same system, and has a history of its own.
        return _at(frozenset(settings.hosts), settings.port)

    def is_over(self, session: Session) -> bool:
        """Tell whether who led where a session began has a successor that was met since."""
        return bool(session.primary and self._newest and session.primary.was_succeeded_by(self._newest))

    def meet(self, session: Session) -> bool:
        """Note who leads where a session has begun; tell whether that one has no successor that was met already."""
        with self._lock:
            if self.is_over(session):
                return False
            self._newest = session.primary or self._newest
        return True


@cache
def _at(_hosts: frozenset[str], _port: int) -> Succession:
    return Succession()


def open_session(settings: Settings, *, owner: bool, statement_timeout: float | None) -> Session:
    """Open a session as `sessions.open_session` does; of several hosts, at none whose successor was met.

    Raises DatabaseUnavailable where no other takes writes, too.
    """
    succession = Succession.of(settings)
    session = sessions.open_session(settings, owner=owner, statement_timeout=statement_timeout)
    if succession.meet(session):
        return session
    former = session.info.host
    session.close()
    # The successor comes before it, whatever the order.
    hosts = (*(host for host in settings.hosts if host != former), former)
    session = sessions.open_session(replace(settings, hosts=hosts), owner=owner, statement_timeout=statement_timeout)
    if succession.meet(session):
        return session
    session.close()
    raise DatabaseUnavailable(
        f"{former} takes writes although another host has taken over from it: try again, and look at 'callytics "
        "cluster' where it goes on; after a restore to an earlier state, start this program again"
    )
