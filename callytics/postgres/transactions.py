"""Transactions and savepoints on a psycopg2 connection, and what becomes of them if it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from callytics.exceptions import OutcomeUnknown
from callytics.postgres.errors import summary

Isolation = Literal["read committed", "repeatable read", "serializable"]
RELEASE = "release savepoint {0}"
# Undone and released: a savepoint that is only rolled back to stays open until the end of the transaction.
UNDO = "rollback to savepoint {0}; release savepoint {0}"


@dataclass
class Transaction:
    """An open transaction and its owner, a task or a thread."""

    connection: Connection
    owner: object
    depth: int = 0

    def open_savepoint(self) -> str:
        """Set a savepoint and return its name."""
        # A name for each depth: one that is used twice would hide the outer savepoint.
        name = f"callytics_{self.depth + 1}"
        self._execute("savepoint {0}", name)
        self.depth += 1
        return name

    def keep(self, name: str) -> None:
        """Release the savepoint: what was done since then is part of the transaction."""
        self.depth -= 1
        self._execute(RELEASE, name)

    def undo(self, name: str) -> None:
        """Undo what was done since the savepoint; if the connection is lost, the server does it."""
        self.depth -= 1
        if not self.connection.closed:
            self._execute(UNDO, name)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Keep what the block does, or none of it if an exception leaves the block."""
        name = self.open_savepoint()
        try:
            yield
        except BaseException:
            self.undo(name)
            raise
        self.keep(name)

    def _execute(self, statement: str, name: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))


def begin(connection: Connection, isolation: Isolation | None, read_only: bool) -> None:
    """Leave autocommit; psycopg2 sends BEGIN along with the first statement."""
    # autocommit first: while it is on, psycopg2 sends the other two to the server at once, a round trip each.
    connection.autocommit = False
    connection.isolation_level = isolation.upper() if isolation else None
    connection.readonly = read_only or None


def commit(connection: Connection) -> None:
    """Commit; raise OutcomeUnknown if the connection is lost meanwhile."""
    try:
        connection.commit()
    except psycopg2.Error as error:
        # The server may have committed and gone before its answer arrived.
        if connection.closed:
            advice = "look whether it is stored before trying again"
            raise OutcomeUnknown(f"the connection was lost during COMMIT: {advice}: {summary(error)}") from error
        raise


def roll_back(connection: Connection) -> None:
    """Undo everything; if the connection is lost, the server does it."""
    try:
        connection.rollback()
    except psycopg2.Error:
        connection.close()


def forget_session(connection: Connection) -> None:
    """Undo what outlives a transaction: settings, locks, cursors, subscriptions, temporary tables."""
    roll_back(connection)
    if not connection.closed:
        connection.autocommit = True
        with connection.cursor() as cursor:
            # The server refuses it inside a transaction.
            cursor.execute("discard all")
