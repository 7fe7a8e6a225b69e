"""Archive: a month's partitions become files, are proved to be in them, and leave the database."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import psycopg2
from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import connection as Connection

from callytics import __version__
from callytics.archives import files
from callytics.archives.backed_up import newest_backup
from callytics.archives.files import Part
from callytics.archives.months import (
    SQL,
    Archived,
    Month,
    check_month,
    first_day,
    months_of,
    owners_session,
    this_month,
)
from callytics.exceptions import ArchiveError, TargetError
from callytics.postgres.sql import Composed, quote
from callytics.postgres.text import path_text
from callytics.settings import Settings

Report = Callable[[str], None]
# Readers wait behind the one that waits for their table, so it gives up soon and tries again.
LOCK_TIME, LOCK_ATTEMPTS, LOCK_PAUSE_SECONDS = "2s", 15, 2.0
# The scratch table's name: no table of anybody's begins so.
SCRATCH = "callytics_read_back"


def months_to_archive(months: Sequence[Month], keep: int) -> list[str]:
    """Return the months in the database that are older than the ``keep`` months before the current one."""
    year, month = map(int, this_month().split("-"))
    oldest = year * 12 + month - 1 - keep
    here = {month.month for month in months if month.folder is None}
    return sorted(one for one in here if int(one[:4]) * 12 + int(one[5:]) - 1 < oldest)


def archive_months(
    settings: Settings, months: Sequence[str], folder: Path, report: Report, *, backed_up: bool = False
) -> list[Archived]:
    """Write months of all partitioned tables to files in a folder, and drop them from the database.

    Each month is one transaction: its rows are written, the files are read back into a scratch table, whose count and
    digest must be the partition's, and only then its partitions are detached and dropped. Writers to the month wait
    meanwhile; readers wait only while it is detached. Killed before its end, a month is as it was. ``backed_up`` lets
    those months alone go that the newest backup holds as they are.

    Raises ``ArchiveError`` for a month that is not over, not here or not backed up, for a folder that can't be used,
    and where a file is not what was written; ``TargetError`` while an import runs, or where the tables stay busy.
    """
    for month in months:
        if check_month(month) >= this_month():
            raise ArchiveError(f"{month} is not over: only months before {this_month()} can be archived")
    done: list[Archived] = []
    folder = folder.absolute()
    with owners_session(settings) as connection, newest_backup(settings) if backed_up else nullcontext() as prove:
        for month in months:
            parts = [one for one in months_of(connection) if one.month == month and one.folder is None]
            if not parts:
                raise ArchiveError(f"there is no month {month} in the database: 'callytics partitions list' names them")
            files.prepare(folder, sum(part.bytes or 0 for part in parts))
            for part in parts:
                _hold(connection, part)
                if prove:
                    prove(part)
            done += _archived(connection, month, parts, folder, report)
    return done


def _archived(
    connection: Connection, month: str, parts: Sequence[Month], folder: Path, report: Report
) -> list[Archived]:
    with files.new_month(folder, month) as (scratch, kept):
        written = [_write(connection, part, scratch, report) for part in parts]
        for part, file in zip(parts, written, strict=True):
            _record(connection, part, file, kept)
        _leave(connection, parts)
        files.keep(scratch, kept, month, written, {"database": connection.info.dbname, "version": __version__})
        connection.commit()
    return [Archived(month, part.table, part.rows, kept / part.file) for part in written]


def _write(connection: Connection, month: Month, folder: Path, report: Report) -> Part:
    """Write a partition, which nobody changes from now on, and prove that its rows are in the file."""
    report(f"{month.month}: {month.table}")
    name = month.partition or ""
    SQL.run(connection, "steady")
    columns = [name for (name,) in SQL.rows(connection, "columns", {"table": f"public.{quote(name)}"})]
    file = folder / f"{month.table}.copy.gz"
    with files.writing(file) as text, connection.cursor() as cursor:
        cursor.copy_expert(SQL.text("write", connection, columns=columns, partition=name), text)
    counted = digest_of(connection, name, columns)
    if read_back(connection, file, name, columns) != counted:
        raise ArchiveError(f"{file} does not hold what {name} holds: nothing was dropped; check the disk")
    with file.open("rb") as packed:
        sha256 = hashlib.file_digest(packed, "sha256").hexdigest()
    return Part(month.table, file.name, sha256, columns, *counted)


def _hold(connection: Connection, month: Month) -> None:
    SQL.value(connection, "bounded", {"time": LOCK_TIME})
    try:
        SQL.run(connection, "hold", partition=month.partition or "")
    except LockNotAvailable as error:
        raise _busy(month) from error


def digest_of(connection: Connection, table: str, columns: Sequence[str]) -> tuple[int, str]:
    """Return how many rows a table has, and the digest of their values in these columns."""
    rows, digest = SQL.rows(connection, "digest", table=table, columns=columns)[0]
    return rows, digest


def read_back(connection: Connection, file: Path, like: str, columns: Sequence[str]) -> tuple[int, str]:
    """Load a file into the transaction's scratch table, and return what :func:`digest_of` says about it."""
    with connection.cursor() as cursor:
        cursor.execute(f"drop table if exists pg_temp.{SCRATCH}")
    SQL.run(connection, "scratch", scratch=Composed(SCRATCH), partition=like)
    scratch = Composed(f"pg_temp.{SCRATCH}")
    with files.reading(file) as text, connection.cursor() as cursor:
        cursor.copy_expert(SQL.text("read", connection, scratch=scratch, columns=columns), text)
    rows, digest = SQL.rows(connection, "digest", table=scratch, columns=columns)[0]
    return rows, digest


def _leave(connection: Connection, parts: Sequence[Month]) -> None:
    """Detach and drop partitions, as soon as nobody reads their tables.

    Not DETACH ... CONCURRENTLY: PostgreSQL refuses it for a table with a default partition, and it would be none of
    the transaction in which the month is recorded. https://www.postgresql.org/docs/15/sql-altertable.html
    """
    for attempt in range(LOCK_ATTEMPTS):
        with connection.cursor() as cursor:
            cursor.execute("savepoint before")
            try:
                SQL.value(connection, "bounded", {"time": LOCK_TIME})
                for part in parts:
                    SQL.run(connection, "detach", table=part.table, partition=part.partition or "")
                    SQL.run(connection, "drop", partition=part.partition or "")
                return
            except (LockNotAvailable, psycopg2.errors.DeadlockDetected) as error:
                cursor.execute("rollback to savepoint before")
                if attempt == LOCK_ATTEMPTS - 1:
                    raise _busy(parts[0]) from error
                time.sleep(LOCK_PAUSE_SECONDS)


def _busy(month: Month) -> TargetError:
    return TargetError(
        f"{month.table} is in use all the time, so nothing was dropped: run the same command again when it is quiet"
    )


def _record(connection: Connection, month: Month, part: Part, folder: Path) -> None:
    values = {
        "month": first_day(month.month),
        "table": part.table,
        "folder": path_text(folder),
        "file": part.file,
        "sha256": part.sha256,
        "columns": list(part.columns),
        "rows": part.rows,
        "digest": part.digest,
        "runs": SQL.value(connection, "runs", {"table": part.table}, partition=month.partition or ""),
    }
    SQL.run(connection, "record", values)
