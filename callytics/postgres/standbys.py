"""Reading from standbys that are recent enough, and from the primary where none is.

What a standby knows of its lag is no proof: cut off, it has no news of the primary, and with an idle one no news is
good news. So the primary is asked how far its log goes, and a standby is read from once it has replayed that much. The
moments in between are of this process's own clock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

import psycopg

from callytics.exceptions import CallyticsError, DatabaseUnavailable, NotMigrated, PoolExhausted, PrivilegeMissing
from callytics.postgres.manager import PostgreSQLManager
from callytics.postgres.pool.sessions import Session
from callytics.postgres.position import SQL, Position

# Seconds that a reader waits for one of a standby's connections, for its word on how far it is, and for what is read;
# then the primary has its turn.
WAIT_SECONDS, ASK_SECONDS, READ_SECONDS = 1.0, 1.0, 5.0
# Seconds that a standby is left alone that was not to be had.
REST_SECONDS = 10.0
# So many of the primary's positions are remembered for as long as a standby may lag.
STEPS = 10

# Not looked at yet; has what was needed last; lacked some of it; has other data, or has not noted yet on which timeline
# it is; can't be reached, or is no standby.
State = Literal["unknown", "ready", "behind", "apart", "away"]
Result = TypeVar("Result")


class Told:
    """How far the primary's log was at some moments of late; ``bound`` is in seconds, moments are of one clock."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._positions: deque[tuple[float, Position]] = deque()

    def note(self, moment: float, position: Position) -> None:
        """Remember what the primary has told, asked at a moment."""
        # Whoever leads after a failover writes a log of its own from there on.
        if self._positions and not position.is_beside(self._positions[-1][1]):
            self._positions.clear()
        if not self._positions or moment - self._positions[-1][0] >= self.bound / STEPS:
            self._positions.append((moment, position))
        while self._positions[0][0] < moment - self.bound:
            self._positions.popleft()

    def is_recent(self, now: float) -> bool:
        """Tell whether the primary need not be asked again yet."""
        return bool(self._positions) and now - self._positions[-1][0] < self.bound / 2

    def needed(self, now: float) -> Position | None:
        """Return what a standby must have that lags less than the bound; None where nothing was told within it."""
        return next((position for moment, position in self._positions if moment >= now - self.bound), None)

    def lag(self, position: Position, now: float) -> float | None:
        """Return how many seconds a standby lags at most, 0 where it has all that was told, None where it lacks all."""
        for moment, told in reversed(self._positions):
            if position.has(told):
                return 0.0 if told is self._positions[-1][1] else now - moment
        return None


class Behind(Exception):
    """A standby can't be read from now: what it has is not enough, or it is not to be had."""


@dataclass
class Standby:
    """A host that is read from while it is a standby, over a pool of its own; ``lag`` is what was found last."""

    manager: PostgreSQLManager
    state: State = "unknown"
    lag: float | None = None
    _rested: float = 0.0
    _look: asyncio.Task[None] | None = None

    def is_usable(self) -> bool:
        """Tell whether it may be asked; where nothing is known of it, somebody is sent to look and nobody waits."""
        if self.state in ("unknown", "away"):
            if time.monotonic() >= self._rested and (self._look is None or self._look.done()):
                self._look = asyncio.create_task(self._visit())
            return False
        return True

    async def read(
        self, told: Told, needed: Position, work: Callable[[PostgreSQLManager], Awaitable[Result]]
    ) -> Result:
        """Return what ``work`` reads, all of one moment at which what is needed is there; raise Behind otherwise."""

        deadline = float("inf")

        async def admit(session: Session) -> None:
            limit.reschedule(None)
            replayed = await _replayed(session)
            self.lag = told.lag(replayed, time.monotonic())
            if not replayed.has(needed):
                self.state = "behind" if replayed.is_beside(needed) else "apart"
                raise Behind
            self.state = "ready"
            nonlocal deadline
            deadline = time.monotonic() + READ_SECONDS

        try:
            async with (
                # Until there is a connection: a new one to a host that hangs would take longer.
                asyncio.timeout(WAIT_SECONDS) as limit,
                self.manager.atransaction(isolation="repeatable read", read_only=True, first=admit) as session,
            ):
                with _given_up(session, READ_SECONDS):
                    return await work(self.manager)
        except (PoolExhausted, NotMigrated, PrivilegeMissing, psycopg.Error) as error:
            # The primary knows whether it is the statement's fault; here a conflict with what is replayed may be.
            raise Behind from error
        except (DatabaseUnavailable, TimeoutError) as error:
            # One that took too long may just have much to read.
            if time.monotonic() < deadline:
                self._rest()
            raise Behind from error

    async def aclose(self) -> None:
        """Close its connections."""
        if self._look is not None:
            self._look.cancel()
        await self.manager.aclose()

    async def _visit(self) -> None:
        async def look(session: Session) -> None:
            await _replayed(session)

        try:
            async with self.manager.atransaction(read_only=True, first=look):
                self.state = "ready"
        except (CallyticsError, psycopg.Error):
            self._rest()

    def _rest(self) -> None:
        self.state, self.lag = "away", None
        self._rested = time.monotonic() + REST_SECONDS


class Reads:
    """Reads of the tasks of one event loop: from a standby of POSTGRES_READ_HOST, or from the primary.

    A standby is read from if it has what the primary had acknowledged POSTGRES_READ_LAG seconds before, or for who
    reads ``fresh`` all that it had when the read began: whatever the reader has stored, through any process.
    """

    def __init__(self, primary: PostgreSQLManager) -> None:
        settings = primary.settings
        self.primary = primary
        self.told = Told(settings.read_lag)
        self.standbys = [
            Standby(PostgreSQLManager(settings.at_standby(host), statement_timeout=primary.statement_timeout))
            for host in settings.read_hosts
        ]
        self.by_primary = self.by_standby = 0
        self._question: asyncio.Task[None] | None = None

    async def aopen(self) -> None:
        """Begin; connects to nothing yet."""
        for standby in self.standbys:
            await standby.manager.ainitialize()

    async def aclose(self) -> None:
        """Close the connections to standbys."""
        if self._question is not None:
            self._question.cancel()
        for standby in self.standbys:
            await standby.aclose()

    async def read(self, work: Callable[[PostgreSQLManager], Awaitable[Result]], *, fresh: bool = False) -> Result:
        """Return what ``work`` reads with the manager that it is given; it may be called again, with another."""
        usable = [standby for standby in self._in_turn() if standby.is_usable()]
        needed = await self._needed(fresh) if usable else None
        for standby in usable:
            if needed is None:
                break
            with suppress(Behind):
                found = await standby.read(self.told, needed, work)
                self.by_standby += 1
                return found
        self.by_primary += 1
        return await work(self.primary)

    def _in_turn(self) -> Iterator[Standby]:
        first = self.by_standby % len(self.standbys) if self.standbys else 0
        yield from self.standbys[first:]
        yield from self.standbys[:first]

    async def _needed(self, fresh: bool) -> Position | None:
        """Return what a standby must have; None where who answers as the primary is none."""
        now = time.monotonic()
        if not fresh and (needed := self.told.needed(now)):
            # Nobody waits for the answer while the last one is good enough: there may be no primary just now.
            if not self.told.is_recent(now) and (self._question is None or self._question.done()):
                self._question = asyncio.create_task(self._asked_in_passing())
            return needed
        position = await self._asked()
        return position if fresh or position is None else self.told.needed(time.monotonic()) or position

    async def _asked(self) -> Position | None:
        now = time.monotonic()
        row = await self.primary.aexecute_query(SQL["told"], fetch="one")
        if row is None:
            return None
        position = Position(**row)
        # The moment before it was asked: what was acknowledged until then is there.
        self.told.note(now, position)
        return position

    async def _asked_in_passing(self) -> None:
        # Once nothing is recent enough, who reads asks and is told the error.
        with suppress(CallyticsError, psycopg.Error):
            await self._asked()


async def _replayed(session: Session) -> Position:
    """Return how far a standby is; raise DatabaseUnavailable, and give the session up, where it is none any more."""
    with _given_up(session, ASK_SECONDS):
        cursor = session.cursor()
        await session.arun(cursor, SQL["replayed"])
        row = cursor.fetchone()
    if row is None:
        session.close()
        raise DatabaseUnavailable("the server is no standby any more: read from the primary")
    return Position(*row)


@contextmanager
def _given_up(session: Session, seconds: float) -> Iterator[None]:
    """Give a session up where the block takes too long: whoever waits for its answer hears that it is lost."""
    timer = asyncio.get_running_loop().call_later(seconds, session.abandon)
    try:
        yield
    finally:
        timer.cancel()
