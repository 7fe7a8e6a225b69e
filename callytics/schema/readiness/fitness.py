"""Whether a database can take our schema: its encoding, the role's rights, and what others have left there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.exceptions import MigrationError, TargetError
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_suffix(".sql"))


def check_fit(connection: Connection) -> None:
    """Raise TargetError where a database can't hold every text or this role may not make tables in it, MigrationError
    where it may not make the schema of the records.
    """
    check_encoding(connection)
    check_public(connection)
    ((fact),) = SQL.all(connection, "fitness")
    if not fact["schemas"]:
        raise MigrationError(
            f"role {fact['role']} may not create the schema imports: as the database's owner or a superuser, "
            f"GRANT CREATE ON DATABASE {fact['database_identifier']} TO {fact['identifier']}"
        )


def check_public(connection: Connection) -> None:
    """Raise TargetError where this role may not create in public, as new indexes and partitions need, too."""
    ((fact),) = SQL.all(connection, "fitness")
    if not fact["in_public"]:
        raise TargetError(
            f"role {fact['role']} may not create tables in schema public: as the database's owner or a superuser, "
            f"GRANT CREATE ON SCHEMA public TO {fact['identifier']}"
        )


def check_encoding(connection: Connection) -> None:
    """Raise TargetError where a database's encoding can't hold every text, whether it is migrated or not."""
    ((database, encoding),) = SQL.rows(connection, "encoding")
    if encoding != "UTF8":
        raise TargetError(
            f"database {database} is in {encoding}, which can't hold every text: create it again with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and migrate it"
        )


def taken(connection: Connection, names: Collection[str]) -> list[str]:
    """Return the names, of tables, views or routines, that something in the database has already."""
    return [name for (name,) in SQL.rows(connection, "taken", {"names": list(names)})]
