"""The sessions of a pool: connections of psycopg that threads and tasks of asyncio use alike."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import errors, waiting
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from callytics.exceptions import OutcomeUnknown
from callytics.postgres.errors import UNCONFIRMED, unreachable
from callytics.postgres.pool.cancelling import CANCEL_PATIENCE, look, until_ended
from callytics.postgres.pool.loaders import register
from callytics.postgres.position import SQL, Position
from callytics.postgres.session import begun, settle
from callytics.settings import Settings

# A server that vanished silently is noticed after half a minute, not after the kernel's two hours.
# https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-PARAMKEYWORDS
KEEPALIVES = {
    "keepalives": "1",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
# Seconds a transaction may be idle before the server ends the session and releases its locks.
IDLE_IN_TRANSACTION = 300
# psycopg prepares what is run often, which spares its parsing. Plans are still made for the values of each run: one for
# any word could not know how frequent a word is.
# What waits to be taken up by an index of words, or of the calls of the trail, is read by every search, and taken up by
# whoever fills the list: with PostgreSQL's 4 MB one entry in fifty thousand kept the answers of all others for 0.3 s.
SETTINGS = """
select
    set_config('statement_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', %s, false),
    set_config('plan_cache_mode', 'force_custom_plan', false),
    set_config('gin_pending_list_limit', '256kB', false)
"""
# Seconds between psycopg's looks at the clock while it waits for the server.
INTERVAL = 1.0
# Seconds that the server has to take note of a cancellation.
ASK_SECONDS = 1.0
# Seconds that an answer may be late: the server ends a statement after statement_timeout, but not a commit that waits
# for a standby, nor does a frozen one end anything.
LATE_SECONDS = 10.0
# What ends that wait in the server, whose words about it lc_messages translates.
# https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/replication/syncrep.c
WAITING_FOR_STANDBY = "SyncRepWaitForLSN"

Result = TypeVar("Result")


class Session(psycopg.Connection[TupleRow]):
    """A connection that a thread waits for as psycopg does, and a task without holding up its loop.

    psycopg's connections know either threads or tasks; both kinds of callers share this pool, and a function in a
    thread joins its task's transaction. What psycopg does with a connection is a generator that says what it waits for,
    so the same one can be waited for in either way; that this generator has no public name is why setup.cfg pins
    psycopg's minor version.
    """

    generation: int
    # How far the primary's log went as this began, where another may succeed it; None where nobody can tell.
    primary: Position | None = None
    # Whether a transaction of the manager is open, and was asked to read only: psycopg itself stays in autocommit.
    in_transaction: bool = False
    readonly: bool = False
    # Whether a cancellation may still be on its way.
    doubtful: bool = False
    # Seconds within which the server answers a statement, None where that may take as long as it likes.
    longest: float | None = None
    _patience: float | None = None
    _unconfirmed: bool = False

    def watch(self, generation: int) -> None:
        """Note which generation of sessions this one belongs to."""
        self.generation = generation

    @property
    def alive(self) -> bool:
        """Whether the server has not ended the session, as far as this machine knows; costs no round trip."""
        try:
            # Twice: an ended session's last words come before its end. libpq's socket never blocks, so that this thread
            # keeps the interpreter, for which it would have to queue up again after a poll.
            self.pgconn.consume_input()
            self.pgconn.consume_input()
        except psycopg.Error:
            return False
        return not self.closed

    @property
    def autocommit(self) -> bool:
        """Whether each statement is committed by itself."""
        return super().autocommit and not self.in_transaction

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.set_autocommit(value)

    @property
    def read_only_by_default(self) -> bool:
        """Whether database or role were set to read only when this session began, which keeps that for good."""
        return not self.closed and self.pgconn.parameter_status(b"default_transaction_read_only") == b"on"

    @property
    def idle(self) -> bool:
        """Whether no transaction is open and nothing runs."""
        return self.pgconn.transaction_status == TransactionStatus.IDLE

    def note(self, notice: psycopg.errors.Diagnostic) -> None:
        """Take note of what the server remarks: that nobody waits for a standby any more is no error to it."""
        self._unconfirmed = self._unconfirmed or notice.source_function == WAITING_FOR_STANDBY

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """Wait as psycopg does; raise OutcomeUnknown where the wait for a standby's confirmation was cancelled."""
        self._unconfirmed = False
        result = super().wait(gen, interval, timeout if self._patience is None else self._patience)
        self._refuse_unconfirmed()
        return result

    @contextmanager
    def answered(self, *, committing: bool = False) -> Iterator[None]:
        """Give the session up and raise OutcomeUnknown where the server does not say whether it has stored something.

        Inside a transaction only its COMMIT is at stake.
        """
        self._patience = self.longest if committing or self.autocommit else None
        try:
            yield
        except errors._WaitTimeout as error:
            # Not cancelled: the server would show everybody at once what may still be lost.
            self.abandon()
            self.close()
            raise OutcomeUnknown(
                f"PostgreSQL has not said within {self.longest:.0f} seconds that this is stored, so it may lack a "
                "standby that confirms it: look whether it is stored before trying again"
            ) from error
        finally:
            self._patience = None

    async def arun(self, cursor: psycopg.Cursor[Any], query: Any, parameters: Any = None) -> None:
        """Run a statement on a cursor of this session, without holding up the loop; a cancelled task cancels it."""
        work = cursor._execute_gen(query, parameters)
        self._unconfirmed = False
        try:
            await waiting.wait_async(work, self.fileno(), INTERVAL, self._patience)
        except asyncio.CancelledError:
            ending = asyncio.ensure_future(waiting.wait_async(work, self.fileno(), INTERVAL))
            await until_ended(ending, self.acancel, self.abandon)
            raise
        self._refuse_unconfirmed()

    async def aexecute(self, query: str) -> None:
        """Run a statement of which no rows are wanted, as `arun` does."""
        await self.arun(self.cursor(), query)

    def undo(self, statement: str = "rollback") -> None:
        """Roll back; where that fails, the end of the session does, and releases what it locked."""
        if not self.closed:
            try:
                self.execute(statement)
            except psycopg.Error:
                self.close()

    async def aundo(self, statement: str = "rollback") -> None:
        """Roll back as `undo` does."""
        if not self.closed:
            try:
                await self.aexecute(statement)
            except psycopg.Error:
                self.close()

    async def acancel(self) -> None:
        """Ask the server once to stop what runs; whether it does shows in what runs."""
        # Not libpq's PQcancel, which holds the interpreter for as long as the server hangs.
        try:
            await waiting.wait_conn_async(self._cancel_gen(), INTERVAL, ASK_SECONDS)
        except psycopg.Error:
            # The server may still read the request later, and stop what the next borrower runs.
            self.doubtful = True

    def abandon(self) -> None:
        """Shut the socket down: whoever waits for the server hears at once that the connection is lost."""
        with suppress(OSError, psycopg.Error), socket.fromfd(self.fileno(), socket.AF_INET, socket.SOCK_STREAM) as own:
            own.shutdown(socket.SHUT_RDWR)

    def _refuse_unconfirmed(self) -> None:
        if self._unconfirmed:
            raise OutcomeUnknown(UNCONFIRMED)


def open_session(settings: Settings, *, owner: bool, statement_timeout: float | None) -> Session:
    """Open a session in autocommit with its timeouts, in seconds; raises DatabaseUnavailable with one line."""
    parameters: dict[str, Any] = KEEPALIVES | settings.parameters(owner=owner)

    def begin(options: str) -> Session:
        # By keywords rather than one string: whatever a password contains, nothing has to be quoted.
        session = Session.connect(autocommit=True, **parameters | {"options": options})
        register(session.adapters)
        session.add_notice_handler(session.note)
        session.longest = statement_timeout + LATE_SECONDS if statement_timeout else None
        return session

    def settled(session: Session) -> None:
        _configure(session, statement_timeout)
        if len(settings.hosts) > 1:
            session.primary = _primary(session)

    try:
        return begun(begin, settled, psycopg.OperationalError)
    except psycopg.OperationalError as error:
        raise unreachable(settings, owner, error) from None


def refresh(session: Session, statement_timeout: float | None) -> None:
    """Make a session like new, or close it: settings, locks, cursors and temporary tables outlive a transaction."""
    try:
        if session.closed:
            return
        session.rollback()
        session.autocommit = True
        # The server refuses it inside a transaction.
        session.execute("discard all")
        _configure(session, statement_timeout)
    except psycopg.Error:
        session.close()


def _configure(session: Session, statement_timeout: float | None) -> None:
    """Set timeouts and planning; not as startup options, which PgBouncer refuses."""
    milliseconds = int((statement_timeout or 0) * 1000)
    settle(session.cursor())
    session.execute(SETTINGS, (str(milliseconds), str(IDLE_IN_TRANSACTION * 1000)))


def _primary(session: Session) -> Position | None:
    try:
        row = session.execute(SQL["told"]).fetchone()
    except (errors.InsufficientPrivilege, errors.FeatureNotSupported):
        # Servers whose log is nobody's business, such as some that are rented, are used as they are.
        return None
    return Position(*row) if row else None


async def finish(session: Session, work: Coroutine[Any, Any, None]) -> None:
    """Do what must not be left half done: a cancelled task waits for its end, unless the server hangs."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=CANCEL_PATIENCE)
        task.add_done_callback(look)
        if not task.done():
            session.abandon()
        raise
