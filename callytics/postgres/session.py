"""What every session of ours relies on, whichever driver has opened it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_suffix(".sql"))
# For a connection string, where a driver looks at a setting as it connects, before any statement can change it.
STARTUP = " options='-c standard_conforming_strings=on -c quote_all_identifiers=off'"


def settle(cursor: Any) -> None:
    """Set what our statements rely on, for the rest of a session: search path, formats, no time limits but ours.

    By a statement and not by startup options, which PgBouncer refuses; only where there is no other way are they
    STARTUP. It must be committed, or a rollback takes it
    back, and repeated after DISCARD ALL. Raises DatabaseUnavailable where a setting that only a superuser may change
    would have rows written without their checks.
    """
    cursor.execute(SQL["settle"])
    # ADBC runs a query only as its rows are fetched.
    role, replication, as_role, as_database = cursor.fetchone()[:4]
    if replication != "origin":
        raise DatabaseUnavailable(
            f"sessions of {role} have session_replication_role = {replication}, where no trigger and no foreign key "
            f"works: as a superuser, ALTER ROLE {as_role} RESET session_replication_role, or ALTER DATABASE "
            f"{as_database} RESET session_replication_role"
        )
