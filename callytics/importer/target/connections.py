"""The connections of an import's workers that carry Arrow."""

from __future__ import annotations

import adbc_driver_manager
import adbc_driver_postgresql.dbapi

from callytics.postgres.errors import unreachable
from callytics.schema.importing import SQL
from callytics.settings import Settings

# For a session whose commits need not wait for the disk, because a later one of another session does. A crash of the
# server takes away the end of what was committed, never something from the middle: checkpoints go with their rows, and
# an index with the note that it is back.
ASYNCHRONOUS = "set synchronous_commit = off"


def import_arrow_connection(settings: Settings) -> adbc_driver_postgresql.dbapi.Connection:
    """Open the owner's ADBC connection for an import, with the session that `import_connection` has too.

    Raises DatabaseUnavailable.
    """
    try:
        connection = adbc_driver_postgresql.dbapi.connect(settings.conninfo(owner=True))
    except adbc_driver_manager.OperationalError as error:
        raise unreachable(settings, True, error) from None
    with connection.cursor() as cursor:
        cursor.execute(SQL["session"])
        # The driver runs a query only as its rows are fetched.
        cursor.fetchall()
    connection.commit()
    return connection
