"""Whether the newest backup holds a month as it is now, by what was recorded in the database when it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg2.extensions import connection as Connection

from callytics.archives.months import SQL, Month
from callytics.backup import ledger
from callytics.exceptions import ArchiveError
from callytics.postgres.connect import connected
from callytics.settings import Settings

Proof = Callable[[Month], None]


@contextmanager
def newest_backup(settings: Settings) -> Iterator[Proof]:
    """Lend a function that raises ``ArchiveError`` for a month which the newest backup does not hold as it is now.

    It asks in a session of its own, so that it can be called while another one keeps the month's writers waiting. A
    backup of before the last change of the month is none of it: the next one is.
    """
    with connected(settings, owner=True) as connection:
        label, tables = _recorded(connection)

        def prove(month: Month) -> None:
            name = f"public.{month.partition}"
            found = ledger.fingerprint(connection, "public", month.partition or "")
            connection.rollback()
            if list(tables.get(name, ())) != found:
                raise ArchiveError(
                    f"{month.month} of {month.table} has changed since backup {label}: it goes after the next backup"
                )

        yield prove


def _recorded(connection: Connection) -> tuple[str, Mapping[str, Any]]:
    if not SQL.value(connection, "sees_backups"):
        raise ArchiveError(
            "no backup holds any month by the records of this database: make one, or leave --backed-up out"
        )
    found = SQL.one(connection, "newest_backup")
    if found is None or found["tables"] is None:
        raise ArchiveError(
            "the newest backup has no record of what the tables held: run 'callytics backup now' on the database's host"
        )
    ledger.settle(connection)
    connection.commit()
    return found["label"], found["tables"]
