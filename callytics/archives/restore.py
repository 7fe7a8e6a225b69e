"""Restore: an archived month comes back from its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg2.errors import ForeignKeyViolation
from psycopg2.extensions import connection as Connection

from callytics.archives import files
from callytics.archives.archive import SCRATCH, Report, read_back
from callytics.archives.files import Part
from callytics.archives.months import SQL, Archived, check_month, first_day, months_of, owners_session
from callytics.exceptions import ArchiveError
from callytics.postgres.sql import Composed, quote
from callytics.postgres.text import counted, text_path
from callytics.settings import Settings

SCRATCH_TABLE = Composed(f"pg_temp.{SCRATCH}")


@dataclass(frozen=True)
class _Away:
    """A part of a month that is away: its folder, and the record of it where this database has one."""

    part: Part
    folder: Path
    record: int | None = None


def restore_month(settings: Settings, month: str, folder: Path | None, report: Report) -> list[Archived]:
    """Bring an archived month back, in one transaction, and return its tables.

    Its files are found where they were written, or in ``folder``. A database that has no record of the month, because
    it was itself restored from a backup or is another one, needs the folder. What the files hold must have the recorded
    checksum, count and digest. Rows that refer to what is gone come back as well: their key stays NOT VALID, and a note
    says so.

    Raises ``ArchiveError`` where a file is gone or was changed, has columns that the table lacks, where its rows are
    back already, or an id of it was given to another row meanwhile; ``TargetError`` while an import runs.
    """
    day = first_day(check_month(month))
    with owners_session(settings) as connection:
        away = _away(connection, month, folder)
        restored = [_restored(connection, one, month, report) for one in away]
        SQL.run(connection, "restored", {"ids": [one.record for one in away if one.record is not None]})
        connection.commit()
        for one in away:
            SQL.run(connection, "analyze", partition=_partition(one.part.table, day.strftime("%Y-%m")))
        connection.commit()
        return restored


def _away(connection: Connection, month: str, folder: Path | None) -> list[_Away]:
    recorded: list[dict[str, Any]] = SQL.all(connection, "archived", {"month": first_day(month)})
    if not recorded:
        if folder is None:
            if any(one.month == month for one in months_of(connection)):
                raise ArchiveError(f"{month} is in this database: if you have files of it, name them with --from")
            raise ArchiveError(
                f"{month} is not archived by the records of this database: if you have its files, name their folder "
                "with --from"
            )
        return [_Away(part, folder) for part in files.parts_in(folder, month)]
    away = []
    for one in recorded:
        number, place = one.pop("id"), text_path(one.pop("folder"))
        away.append(_Away(Part(**one), folder or Path(place), number))
    if folder:
        files.refuse_another(folder, month, [one.part for one in away])
    return away


def _restored(connection: Connection, away: _Away, month: str, report: Report) -> Archived:
    part = away.part
    report(f"{month}: {part.table}")
    path = files.check(away.folder, part)
    _refuse_other_columns(connection, part, path)
    if read_back(connection, path, part.table, part.columns) != (part.rows, part.digest):
        raise ArchiveError(f"{path} does not hold the rows that were archived: nothing was restored")
    _refuse_taken_ids(connection, part, path, month)
    SQL.run(connection, "ensure_month", {"table": part.table, "month": first_day(month)})
    return Archived(month, part.table, part.rows, path, tuple(_put_back(connection, part, month)))


def _refuse_other_columns(connection: Connection, part: Part, path: Path) -> None:
    here = {name for (name,) in SQL.rows(connection, "columns", {"table": f"public.{quote(part.table)}"})}
    if gone := sorted(set(part.columns) - here):
        raise ArchiveError(f"{path} has columns that {part.table} has no longer: {', '.join(gone)}")


def _refuse_taken_ids(connection: Connection, part: Part, path: Path, month: str) -> None:
    taken = SQL.value(connection, "taken", scratch=SCRATCH_TABLE, table=part.table)
    if taken is None:
        return
    if there := SQL.value(connection, "there", scratch=SCRATCH_TABLE, table=part.table, columns=part.columns):
        raise ArchiveError(
            f"{month} is back already: {there:,} of {counted(part.rows, 'row')} of {path} are in {part.table}, so "
            "nothing was restored"
        )
    raise ArchiveError(
        f"id {taken} of {part.table} was given to another row since {month} was archived: nothing was restored"
    )


def _put_back(connection: Connection, part: Part, month: str) -> list[str]:
    """Move the rows into the month's partition, and return which keys some of them break now."""
    partition = _partition(part.table, month)
    keys = SQL.all(connection, "keys", {"partition": f"public.{quote(partition)}"})
    for key in keys:
        SQL.run(connection, "drop_key", partition=partition, key=key["name"])
    SQL.run(connection, "put_back", table=part.table, columns=part.columns, scratch=SCRATCH_TABLE)
    return [note for key in keys for note in _key_back(connection, partition, key["name"], key["definition"])]


def _key_back(connection: Connection, partition: str, key: str, definition: str) -> Sequence[str]:
    plain = definition.removesuffix(" NOT VALID")
    SQL.run(connection, "add_key", partition=partition, key=key, definition=Composed(f"{plain} not valid"))
    with connection.cursor() as cursor:
        cursor.execute("savepoint before")
        try:
            SQL.run(connection, "validate_key", partition=partition, key=key)
        except ForeignKeyViolation:
            cursor.execute("rollback to savepoint before")
            return [f"{partition}: {key} stays NOT VALID, some rows refer to what is gone"]
    return []


def _partition(table: str, month: str) -> str:
    return f"{table}_{month.replace('-', '_')}"
