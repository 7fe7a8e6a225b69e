"""Transactions and savepoints of a session, and what becomes of them when it is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal

import psycopg

from callytics.exceptions import OutcomeUnknown
from callytics.postgres.errors import summary
from callytics.postgres.pool.sessions import Session, finish

Isolation = Literal["read committed", "repeatable read", "serializable"]


@dataclass
class Transaction:
    """An open transaction and whose it is, a task's or a thread's: each statement to begin and to end one.

    Inside it, the same statements begin and end savepoints: ``depth`` counts what is open. They are texts, so that
    threads and tasks each send them in their own way.
    """

    session: Session
    owner: object
    depth: int = 0

    def begin(self, isolation: Isolation | None = None, read_only: bool = False) -> str:
        """Return what begins the transaction, or in it what can be undone on its own."""
        self.depth += 1
        if self.depth > 1:
            return f"savepoint {self._savepoint}"
        self.session.in_transaction, self.session.readonly = True, read_only
        return f"begin{f' isolation level {isolation}' if isolation else ''}{' read only' if read_only else ''}"

    def keep(self) -> str:
        """Return what keeps all that was done since the last beginning."""
        return f"release savepoint {self._savepoint}" if self.depth > 1 else "commit"

    def undo(self) -> str:
        """Return what undoes all that was done since the last beginning."""
        # Undone and released: a savepoint that is only rolled back to stays open until the end of the transaction.
        name = self._savepoint
        return f"rollback to savepoint {name}; release savepoint {name}" if self.depth > 1 else "rollback"

    def end(self) -> None:
        """Note that what was begun last has ended."""
        self.depth -= 1
        if not self.depth:
            self.session.in_transaction = self.session.readonly = False

    @property
    def _savepoint(self) -> str:
        # A name for each depth: one that is used twice would hide the outer savepoint.
        return f"callytics_{self.depth - 1}"


@contextmanager
def inside(transaction: Transaction, isolation: Isolation | None = None, read_only: bool = False) -> Iterator[None]:
    """Keep what a thread does inside, or nothing of it when an exception leaves the block."""
    session = transaction.session
    try:
        session.execute(transaction.begin(isolation, read_only))
        try:
            yield
        except BaseException:
            session.undo(transaction.undo())
            raise
        with outcome(transaction), session.answered(committing=True):
            session.execute(transaction.keep())
    finally:
        transaction.end()


@asynccontextmanager
async def ainside(
    transaction: Transaction, isolation: Isolation | None = None, read_only: bool = False
) -> AsyncIterator[None]:
    """Keep what a task does inside, or nothing of it; neither is left half done when the task is cancelled."""
    session = transaction.session
    try:
        await finish(session, session.aexecute(transaction.begin(isolation, read_only)))
        try:
            yield
        except BaseException:
            await finish(session, session.aundo(transaction.undo()))
            raise
        with outcome(transaction), session.answered(committing=True):
            await finish(session, session.aexecute(transaction.keep()))
    finally:
        transaction.end()


@contextmanager
def outcome(transaction: Transaction) -> Iterator[None]:
    """Raise OutcomeUnknown for a session that is lost during COMMIT."""
    try:
        yield
    except psycopg.Error as error:
        # The server may have committed and gone before its answer arrived.
        if transaction.depth > 1 or not transaction.session.closed:
            raise
        advice = "look whether it is stored before trying again"
        raise OutcomeUnknown(f"the connection was lost during COMMIT ({summary(error)}): {advice}") from error
