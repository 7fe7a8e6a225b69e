"""The backups' records inside the database: moments that a restore must give back, and what every table held then.

They are written as the superuser, over the socket, into a schema of his own: as what a backup contains, they prove by
themselves whether a restore has reached a moment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection

from callytics.backup import health
from callytics.backup.pgbackrest import Progress
from callytics.backup.place import Place
from callytics.exceptions import BackupError
from callytics.postgres.connect import connected
from callytics.postgres.sql import Queries
from callytics.postgres.text import counted
from callytics.settings import Settings

SQL = Queries(Path(__file__).with_suffix(".sql"))
# How long writers may be kept waiting, and how often that is tried: an import may hold its tables for minutes.
LOCK_TIMEOUT = "3s"
ATTEMPTS = 30
PAUSE_SECONDS = 10.0
Tables = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Moment:
    """A commit; ``tables`` has rows and checksum by table's name, or is None where writers could not be stopped."""

    id: int
    at: datetime
    xid: int
    label: str | None = None
    tables: Tables | None = None


@contextmanager
def session(place: Place, *, socket: str | None = None, port: int | None = None) -> Iterator[Connection]:
    """Lend a session of the superuser on the cluster of ``place``, or on a trial's at another socket."""
    settings = Settings((socket or place.socket,), port or place.port, place.database, place.account, password="")
    with connected(settings) as connection:
        settle(connection)
        connection.commit()
        yield connection


def settle(connection: Connection) -> None:
    """Have a session write values as those of :func:`fingerprint` were written when they were recorded."""
    SQL.rows(connection, "settle")


@contextmanager
def ledger(place: Place) -> Iterator[Connection]:
    """Lend a session on the live cluster, with the records' schema made if it is not there.

    On a standby what is recorded can only be read.

    Raises BackupError if somebody else owns that schema: his triggers would run with the superuser's rights.
    """
    with session(place) as connection:
        owner = SQL.one(connection, "owner")
        if owner is None:
            _make(connection)
        elif not owner["ours"]:
            raise BackupError(
                f"the schema backups belongs to {owner['owner']}: rename or drop it, as backups are recorded there"
            )
        elif not owner["complete"]:
            SQL.run(connection, "make_complete")
        connection.commit()
        yield connection


def record(connection: Connection, kind: str, label: str | None = None, note: str | None = None) -> Moment:
    """Commit a moment and return it."""
    row = SQL.one(connection, "record", {"kind": kind, "label": label, "note": note})
    assert row is not None
    connection.commit()
    return Moment(row["id"], row["at"], int(row["xid"]), label)


def record_tables(place: Place, label: str, progress: Progress) -> Moment:
    """Commit a moment together with rows and checksum of every table as they were then.

    Writers wait for up to three seconds, and not at all while the tables are read: a second session takes its
    snapshot while they are locked. If they cannot be stopped within five minutes, the moment is recorded without.
    """
    with ledger(place) as writer, session(place) as reader:
        for attempt in range(ATTEMPTS):
            try:
                moment = _stand_still(writer, reader, label)
                break
            except errors.LockNotAvailable:
                writer.rollback()
                reader.rollback()
                progress("wait for writers, attempts", attempt + 1, ATTEMPTS)
                time.sleep(PAUSE_SECONDS)
        else:
            return record(writer, "after", label, "writers held tables for five minutes: no checksums")
        found = fingerprints(reader, progress)
        reader.commit()
        faults = health.faults(health.examine(place))
        SQL.run(writer, "complete", {"id": moment.id, "tables": json.dumps(found), "faults": json.dumps(faults)})
        SQL.run(writer, "forget")
        writer.commit()
        return Moment(moment.id, moment.at, moment.xid, label, found)


def fingerprints(connection: Connection, progress: Progress) -> dict[str, list[Any]]:
    """Return rows and checksum of every table as the session's snapshot sees it."""
    found: dict[str, list[Any]] = {}
    tables = SQL.rows(connection, "tables")
    for number, (schema, name) in enumerate(tables):
        progress("compare tables", number, len(tables))
        found[f"{schema}.{name}"] = fingerprint(connection, schema, name)
    progress("compare tables", len(tables), len(tables))
    return found


def fingerprint(connection: Connection, schema: str, name: str) -> list[Any]:
    """Return rows and checksum of one table, in a session that :func:`settle` has settled."""
    row = SQL.one(connection, "fingerprint", None, table=sql.Identifier(schema, name))
    assert row is not None
    return [row["rows"], row["checksum"]]


def differences(before: Tables, after: Tables) -> list[str]:
    """Return what differs between two moments' tables, a line each."""
    found = [f"{name} is missing" for name in before if name not in after]
    found += [f"{name} was not there" for name in after if name not in before]
    for name in before:
        if name in after and list(before[name]) != list(after[name]):
            found.append(
                f"{name} has {counted(after[name][0], 'row')} instead of {before[name][0]:,}, or other values in them"
            )
    return found


def newest(connection: Connection, labels: Sequence[str]) -> Moment | None:
    """Return the last moment with checksums that one of these backups, and the WAL after it, can give back."""
    row = SQL.one(connection, "newest", {"labels": list(labels)})
    return Moment(row["id"], row["at"], int(row["xid"]), row["label"], row["tables"]) if row else None


def _stand_still(writer: Connection, reader: Connection, label: str) -> Moment:
    """Commit a moment that the snapshot of ``reader`` is of, with no writer's commit in between."""
    names = SQL.rows(writer, "tables")
    with writer.cursor() as cursor:
        cursor.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
    if names:
        tables = sql.SQL(", ").join(sql.SQL("only {}").format(sql.Identifier(*name)) for name in names)
        SQL.run(writer, "lock", None, tables=tables)
    reader.set_session(isolation_level="REPEATABLE READ", readonly=True)
    # The snapshot is taken by the first statement.
    SQL.rows(reader, "tables")
    return record(writer, "after", label)


def _make(connection: Connection) -> None:
    if SQL.value(connection, "in_recovery"):
        raise BackupError("no backup was recorded yet: wait a minute for callytics-backup-watch of the one that leads")
    SQL.run(connection, "make")
    for (role,) in SQL.rows(connection, "readers"):
        SQL.run(connection, "grant", None, role=role)
