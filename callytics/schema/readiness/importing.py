"""What imports, their report and doctor agree on: the owner's session, who may import, and the lock of an import."""

from __future__ import annotations

import time
from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.exceptions import TargetError
from callytics.postgres.connect import connect, refuse_read_only
from callytics.postgres.session import closing_on_error
from callytics.postgres.sql import Queries
from callytics.schema import versions
from callytics.schema.readiness import fitness
from callytics.settings import Settings

SQL = Queries(Path(__file__).with_name("importing.sql"))
# Key of the advisory lock that an import holds. A release with another one would import beside a running import of
# this one, so it never changes.
IMPORT_LOCK = 7226_0117_2001
LOCK_ATTEMPTS, LOCK_SECONDS = 10, 0.5


def import_connection(settings: Settings) -> Connection:
    """Open the owner's connection for an import, or for what reads its records.

    Its session is set and committed, so that no rollback takes the settings back. The caller commits and closes.
    Raises DatabaseUnavailable with one line that says what to do.
    """
    connection = connect(settings, owner=True)
    with closing_on_error(connection):
        SQL.run(connection, "session")
        connection.commit()
    return connection


def check_ready(connection: Connection, *, writes: bool = True) -> None:
    """Refuse a database whose schema is not this version's, or whose tables this role does not own.

    Raises NotMigrated or NewerSchema, TargetError for the role, and with ``writes`` ReadOnlyServer for a server that
    takes none: nobody should wait for snapshots in vain.
    """
    versions.check(connection)
    if writes:
        refuse_read_only(connection)
    fitness.check_encoding(connection)
    ((user, may),) = SQL.rows(connection, "may_import")
    if not may:
        raise TargetError(
            f"role {user} does not own the tables, so it may not import: set POSTGRES_OWNER_USER and "
            "POSTGRES_OWNER_PASSWORD to the role that migrates"
        )
    if writes:
        # Who owns the tables need not own the database: indexes would be dropped for the load and never come back.
        fitness.check_public(connection)


def hold_import_lock(connection: Connection) -> None:
    """Hold the import lock until the connection closes; `TargetError` when another import keeps it.

    Waits a little: the server takes a moment to notice that a killed import is gone.
    """
    for _ in range(LOCK_ATTEMPTS):
        if SQL.value(connection, "try_lock", (IMPORT_LOCK,)):
            return
        # Between the attempts no transaction is open: CREATE INDEX CONCURRENTLY elsewhere would wait for its end.
        connection.rollback()
        time.sleep(LOCK_SECONDS)
    raise TargetError("another import is running on this database: wait until it is done")


def check_connections(connection: Connection, jobs: int) -> None:
    """Refuse a database that has not enough connections left: two for each job, and this one.

    Others may take them meanwhile; then the command ends half-way, and can be run again. Raises TargetError.
    """
    needed = 1 + 2 * jobs
    left = SQL.one(connection, "free_connections")
    if left and left["free"] < needed:
        raise TargetError(
            f"{left['what']} has {left['free']} connections for this command, which needs {needed}: "
            f"raise {left['setting']}, or lower --jobs"
        )
