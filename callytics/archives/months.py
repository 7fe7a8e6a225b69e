"""What there is of each month, in the database or in a file, and the session in which months go and come."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.exceptions import ArchiveError, TargetError
from callytics.postgres.connect import connected
from callytics.postgres.errors import translated
from callytics.postgres.sql import Queries
from callytics.postgres.text import quoted
from callytics.schema import versions
from callytics.schema.readiness.importing import check_ready, hold_import_lock, import_connection
from callytics.settings import Settings

SQL = Queries(Path(__file__).with_name("archives.sql"))
MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Month:
    """One month of one table: in the database (``folder`` is None, ``bytes`` with indexes), or only in a folder.

    ``rows`` is an estimate of the statistics in the database, -1 before the first of them, and exact in a file.
    """

    month: str
    table: str
    partition: str | None
    bytes: int | None
    rows: int
    folder: str | None


@dataclass(frozen=True)
class Archived:
    """One month of one table as it went to a file, or came back from one; ``notes`` say what is not as before."""

    month: str
    table: str
    rows: int
    file: Path
    notes: tuple[str, ...] = ()


def all_months(settings: Settings) -> list[Month]:
    """Return every month of every partitioned table, the oldest first, those in files included."""
    with connected(settings, owner=True) as connection:
        versions.check(connection)
        return months_of(connection)


def months_of(connection: Connection) -> list[Month]:
    """Return every month of every partitioned table, the oldest first."""
    return [Month(month.replace("_", "-"), *rest) for month, *rest in SQL.rows(connection, "months")]


def check_month(month: str) -> str:
    """Return a month as it is written, such as 2024-05; raises ``ArchiveError`` for anything else."""
    if not MONTH.fullmatch(month):
        raise ArchiveError(f"{month!r} is no month: write it as 2024-05")
    return month


def first_day(month: str) -> date:
    """Return the first day of a month."""
    return date.fromisoformat(f"{month}-01")


def this_month() -> str:
    """Return the current month: the one that partitions mean, in UTC."""
    return f"{datetime.now(UTC):%Y-%m}"


@contextmanager
def owners_session(settings: Settings) -> Iterator[Connection]:
    """Lend the owner's connection while no import, sync or undo runs; triggers that change rows stand still.

    Committing is up to the caller. Raises ``TargetError`` where one runs or was cut off, and for a role that does not
    own the tables; ``DatabaseUnavailable`` and the others of :mod:`callytics.postgres.errors`.
    """
    with translated(settings, owner=True), closing(import_connection(settings)) as connection:
        check_ready(connection)
        hold_import_lock(connection)
        _refuse_unfinished([run for (run,) in SQL.rows(connection, "unfinished")])
        connection.commit()
        yield connection


def _refuse_unfinished(runs: Sequence[int]) -> None:
    if runs:
        raise TargetError(
            f"import {runs[0]} is unfinished: run the same 'callytics import' again, or give it up with "
            f"{quoted('callytics undo', runs[0])}"
        )
