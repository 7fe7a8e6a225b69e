"""The sessions of a pool: opening them, and restoring them for the next borrower."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from callytics.postgres.errors import unreachable
from callytics.postgres.pool import PooledConnection
from callytics.postgres.transactions import forget_session
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
TIMEOUTS = """
select
    set_config('statement_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', %s, false)
"""


def open_session(settings: Settings, *, owner: bool, statement_timeout: float | None) -> PooledConnection:
    """Open a session in autocommit with its timeouts, in seconds; raises DatabaseUnavailable with one line."""
    parameters: dict[str, Any] = settings.parameters(owner=owner) | KEEPALIVES
    try:
        # By keywords rather than one string: whatever a password contains, nothing has to be quoted.
        connection: PooledConnection = psycopg2.connect(None, connection_factory=PooledConnection, **parameters)
        connection.autocommit = True
        _set_timeouts(connection, statement_timeout)
    except psycopg2.OperationalError as error:
        raise unreachable(settings, owner, error) from None
    return connection


def refresh(connection: Connection, statement_timeout: float | None) -> None:
    """Restore a session to its initial state, or close it; what was committed stands either way."""
    try:
        forget_session(connection)
        _set_timeouts(connection, statement_timeout)
    except psycopg2.Error:
        connection.close()


def _set_timeouts(connection: Connection, statement_timeout: float | None) -> None:
    """Set the server's timeouts; not as startup options, which PgBouncer refuses."""
    if connection.closed:
        return
    milliseconds = int((statement_timeout or 0) * 1000)
    with connection.cursor() as cursor:
        cursor.execute(TIMEOUTS, (str(milliseconds), str(IDLE_IN_TRANSACTION * 1000)))
