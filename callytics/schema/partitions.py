"""The monthly partitions of the tables that grow without end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import connection as Connection

from callytics.exceptions import MigrationError
from callytics.postgres.connect import connected
from callytics.postgres.errors import translated
from callytics.postgres.sql import Queries
from callytics.schema import versions
from callytics.schema.readiness.importing import IMPORT_LOCK
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


def freeze_over(settings: Settings, report: Callable[[str], None]) -> list[str]:
    """Freeze the months that are over and were not yet, once for each, and return their partitions.

    A partition is vacuumed, gently, and from then on by autovacuum as a table which hardly changes. One that is in use
    for longer than two seconds is left to the next run; none is touched while an import runs. Killed, the next run goes
    on. The owner of the tables does it. Raises NotMigrated, NewerSchema and DatabaseUnavailable.
    """
    with connected(settings, owner=True) as connection, translated(settings, owner=True):
        # VACUUM can't run in a transaction.
        connection.autocommit = True
        versions.check(connection)
        if SQL.value(connection, "is_importing", {"import_lock": IMPORT_LOCK}):
            report("An import is under way: months are frozen after it")
            return []
        SQL.run(connection, "gently")
        over = [name for (name,) in SQL.rows(connection, "over")]
        return [name for name in over if _freeze(connection, name, report)]


def _freeze(connection: Connection, partition: str, report: Callable[[str], None]) -> bool:
    report(partition)
    try:
        SQL.run(connection, "freeze", partition=partition)
        SQL.run(connection, "mark", partition=partition)
    except LockNotAvailable:
        report(f"{partition} is in use: the next run freezes it")
        return False
    return True


def _partitions(connection: Connection) -> list[str]:
    return [name for (name,) in SQL.rows(connection, "partitions")]
