"""Connections to PostgreSQL one by one, for whoever needs no pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from callytics.exceptions import OutcomeUnknown
from callytics.postgres.errors import AGAIN, UNCONFIRMED, read_only, translated, unreachable
from callytics.postgres.session import STARTUP, begun, settle
from callytics.settings import Settings

# As SyncRepWaitForLSN in syncrep.c remarks on a wait that was cancelled.
REMARK = "do $$ begin raise warning '-' using detail = '-'; end $$"


class Confirmed(Connection):
    """A connection whose commits count as such only once a standby has confirmed them, where any has to."""

    def commit(self) -> None:
        """Commit; raise OutcomeUnknown where the wait for a standby was cancelled."""
        self.notices.clear()
        super().commit()
        self.refuse_unconfirmed()

    def refuse_unconfirmed(self) -> None:
        """Raise OutcomeUnknown where the server has said that what it committed may be on one host alone.

        psycopg2 has only its words, which lc_messages translates: a warning with details is taken for that. That
        something is there already is a notice, and that there is no transaction to end a warning without.
        """
        said = [_labels(line) for line in self.notices]
        if said and self._cancelled_wait() in said:
            raise OutcomeUnknown(UNCONFIRMED)

    def _cancelled_wait(self) -> tuple[str, ...]:
        """Return how this server labels the lines of that remark, in its language; nothing if no standby confirms."""
        labels: tuple[str, ...] = ()
        # Not a cursor of ours, which would forget the remark.
        with self.cursor(cursor_factory=Cursor) as cursor:
            cursor.execute("select current_setting('synchronous_standby_names') <> ''")
            if cursor.fetchall() == [(True,)]:
                cursor.execute(REMARK)
                labels = _labels(self.notices[-1])
        if not self.autocommit:
            super().rollback()
        return labels


class ConfirmedCursor(Cursor):
    """A cursor whose statements count as done as `Confirmed.commit` does, where each is committed by itself."""

    def execute(self, query: str | bytes | sql.Composable, vars: Any = None) -> None:
        """Run a statement; raise OutcomeUnknown where its wait for a standby was cancelled."""
        if self.connection.autocommit:
            self.connection.notices.clear()
        super().execute(query, vars)
        # In a transaction that yoyo has begun it is the COMMIT that waits.
        if self.connection.autocommit and self.connection.notices and _is_idle(self.connection):
            assert isinstance(self.connection, Confirmed)
            self.connection.refuse_unconfirmed()


def _labels(remark: str) -> tuple[str, ...]:
    """Return the words before the colons of a remark's first two lines, as WARNING and DETAIL."""
    return tuple(line.partition(":")[0] for line in remark.splitlines()[:2])


def _is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status == TRANSACTION_STATUS_IDLE


def connect(settings: Settings, *, owner: bool = False) -> Connection:
    """Open a connection as the application, or as whoever migrates and imports, with its session as ours have it.

    The caller commits and closes. Raises DatabaseUnavailable with one line that says what to do and holds no
    password.
    """
    conninfo = settings.conninfo(owner=owner)
    try:
        return begun(lambda options: _opened(conninfo, options), _settle, psycopg2.OperationalError)
    except psycopg2.OperationalError as error:
        raise unreachable(settings, owner, error) from None


def _opened(conninfo: str, options: str) -> Connection:
    connection = _confirmed(f"{conninfo} options='{options}'")
    # psycopg2 decides as it connects how it writes texts, and would write a backslash as an escape for ever after.
    if connection.info.parameter_status("standard_conforming_strings") == "off":
        connection.close()
        connection = _confirmed(f"{conninfo} options='{STARTUP}'")
    return connection


def _confirmed(conninfo: str) -> Connection:
    return psycopg2.connect(conninfo, connection_factory=Confirmed, cursor_factory=ConfirmedCursor)


def _settle(connection: Connection) -> None:
    # In a transaction that may be rolled back, the settings would be too.
    connection.autocommit = True
    with connection.cursor() as cursor:
        settle(cursor)
    connection.autocommit = False


@contextmanager
def connected(settings: Settings, *, owner: bool = False, then: str = AGAIN) -> Iterator[Connection]:
    """Lend a connection as :func:`connect` opens it and close it, with errors inside translated.

    Committing is up to the caller; what is not committed is gone. Raises DatabaseUnavailable, NotMigrated,
    PrivilegeMissing and the others of :mod:`callytics.postgres.errors`.
    """
    with closing(connect(settings, owner=owner)) as connection, translated(settings, owner=owner, then=then):
        yield connection


def refuse_read_only(connection: Connection) -> None:
    """Raise ReadOnlyServer where a transaction can't write, before anything was begun; the server is asked once."""
    if why := why_read_only(connection):
        raise read_only(why)


def why_read_only(connection: Connection) -> str | None:
    """Return why a transaction can't write; None where it can."""
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('transaction_read_only'), pg_is_in_recovery()")
        row = cursor.fetchone()
    if row is None or row[0] != "on":
        return None
    return "it is a standby" if row[1] else "default_transaction_read_only is on"
