"""The monthly partitions of the tables that grow without end."""

from __future__ import annotations

from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.exceptions import MigrationError
from callytics.postgres.connect import connected
from callytics.postgres.sql import Queries
from callytics.settings import Settings

SQL = Queries(Path(__file__).with_suffix(".sql"))
# A timer that fails for a whole quarter is noticed before rows go to the default partitions.
MONTHS = 3


def make_ahead(settings: Settings, months: int) -> list[str]:
    """Make the partitions of this month and of ``months`` to come, and return the names of those that were missing.

    The application's login does it, by a function of the owner's: a timer needs no other password. Rows of those
    months that wait in a default partition move into theirs; readers wait only while a partition is attached. It is one
    transaction. Raises MigrationError where the migrations are not applied, and DatabaseUnavailable.
    """
    # The second one commits, or rolls back: `connected` only closes.
    with connected(settings) as connection, connection:
        if not SQL.value(connection, "function"):
            raise MigrationError(f"database {settings.database} is not partitioned yet: run 'callytics migrate'")
        before = _partitions(connection)
        SQL.run(connection, "ahead", {"months": months})
        return [name for name in _partitions(connection) if name not in before]


def _partitions(connection: Connection) -> list[str]:
    return [name for (name,) in SQL.rows(connection, "partitions")]
