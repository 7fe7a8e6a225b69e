"""The connections of an import: whose they are, and how their sessions are set."""

from __future__ import annotations

import adbc_driver_postgresql.dbapi
from psycopg2.extensions import connection as Connection

from callytics.postgres import connect
from callytics.settings import Settings

SESSION = (
    "set timezone = 'UTC'",
    "set search_path = public",
    "set callytics.importing = 'on'",
    "set statement_timeout = 0",
    "set idle_in_transaction_session_timeout = 0",
    "set client_connection_check_interval = '500ms'",
)
"""An import's session: triggers that change rows stand still, and no time limit of the role applies.

The server looks whether its client is still there, or a killed import would hold its locks for as long as an index
takes to build.
"""

ASYNCHRONOUS = "set synchronous_commit = off"
"""For a session whose commits need not wait for the disk, because a later one of another session does.

A crash of the server takes away the end of what was committed, never something from the middle: checkpoints go with
their rows, and an index with the note that it is back.
"""


def import_connection(settings: Settings) -> Connection:
    """Open the owner's connection for an import."""
    connection = connect(settings, owner=True)
    with connection.cursor() as cursor:
        for statement in SESSION:
            cursor.execute(statement)
    connection.commit()
    return connection


def import_arrow_connection(settings: Settings) -> adbc_driver_postgresql.dbapi.Connection:
    """Open the owner's ADBC connection for an import."""
    connection = adbc_driver_postgresql.dbapi.connect(settings.conninfo(owner=True))
    with connection.cursor() as cursor:
        for statement in SESSION:
            cursor.execute(statement)
    connection.commit()
    return connection
