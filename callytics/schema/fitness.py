"""Whether a database can take our schema: its encoding, the role's rights, and what others have left there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.exceptions import MigrationError
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_suffix(".sql"))


def check_fit(connection: Connection) -> None:
    """Raise MigrationError where a database can't hold the schema, or this role may not make it."""
    ((fact),) = SQL.all(connection, "fitness")
    if fact["encoding"] != "UTF8":
        raise MigrationError(
            f"database {fact['database']} is in {fact['encoding']}, which can't hold every text: create it again with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    if not fact["in_public"]:
        raise MigrationError(
            f"role {fact['role']} may not create tables in schema public: as the database's owner or a superuser, "
            f"GRANT CREATE ON SCHEMA public TO {fact['identifier']}"
        )
    if not fact["schemas"]:
        raise MigrationError(
            f"role {fact['role']} may not create the schema imports: as the database's owner or a superuser, "
            f"GRANT CREATE ON DATABASE {fact['database_identifier']} TO {fact['identifier']}"
        )


def taken(connection: Connection, names: Collection[str]) -> list[str]:
    """Return the names, of tables, views or routines, that something in the database has already."""
    return [name for (name,) in SQL.rows(connection, "taken", {"names": list(names)})]
