"""What every session of ours relies on, whichever driver has opened it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_suffix(".sql"))
# Time limits of a role or a database that could end a session before its first statement has put them right.
LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")
# For where a statement would come too late: a driver looks at some settings as it connects.
STARTUP = " ".join(
    ["-c standard_conforming_strings=on", "-c quote_all_identifiers=off", *(f"-c {limit}=0" for limit in LIMITS)]
)
# How a session is begun, until one gets as far as its settings: without options, which PgBouncer refuses, if it can be.
# PostgreSQL 17 has a limit that those before do not know, and none of these gets as far as the last one.
STARTUPS = ("", STARTUP, f"{STARTUP} -c transaction_timeout=0")


class Closeable(Protocol):
    """What has to be closed."""

    def close(self) -> object:
        """Close it."""


Session = TypeVar("Session", bound=Closeable)


def begun(begin: Callable[[str], Session], settled: Callable[[Session], object], cut_off: type[Exception]) -> Session:
    """Begin a session with startup options and settle it, once more with other options where it is cut off meanwhile.

    What ``begin`` raises passes, and so does the last ``cut_off`` that ``settled`` raises; a session that can't be
    settled is closed.
    """
    for options in STARTUPS[:-1]:
        session = begin(options)
        try:
            with closing_on_error(session):
                settled(session)
        except cut_off:
            continue
        return session
    with closing_on_error(begin(STARTUPS[-1])) as session:
        settled(session)
    return session


@contextmanager
def closing_on_error(session: Session) -> Iterator[Session]:
    """Close what was opened if the block fails: nobody else has it yet."""
    try:
        yield session
    except BaseException:
        session.close()
        raise


def settle(cursor: Any) -> None:
    """Set what our statements rely on, for the rest of a session: search path, formats, no time limits but ours.

    It must be committed, or a rollback takes it back, and repeated after DISCARD ALL. Raises DatabaseUnavailable where
    a setting that only a superuser may change would have rows written without their checks.
    """
    cursor.execute(SQL["settle"])
    # ADBC runs a query only as its rows are fetched.
    role, replication, as_role, as_database, limited = cursor.fetchone()[:5]
    if limited:
        # A limit that runs out as its statement ends is met by the next one (ProcessInterrupts in postgres.c).
        cursor.execute(SQL["outlast"])
        cursor.fetchone()
    if replication != "origin":
        raise DatabaseUnavailable(
            f"sessions of {role} have session_replication_role = {replication}, where no trigger and no foreign key "
            f"works: as a superuser, ALTER ROLE {as_role} RESET session_replication_role, or ALTER DATABASE "
            f"{as_database} RESET session_replication_role"
        )
