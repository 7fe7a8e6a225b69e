"""Take a backup, with a moment before and every table's checksum after it, so that a restore can be proved."""

from __future__ import annotations

from callytics.backup import ledger, pgbackrest
from callytics.backup.ledger import SQL
from callytics.backup.pgbackrest import Backup, Progress
from callytics.backup.place import Place
from callytics.exceptions import BackupError


def take(place: Place, kind: str | None, progress: Progress) -> Backup:
    """Back up now: ``kind`` is full or diff; without it, what differs from the last full backup.

    The moment after a backup is the first that it can be restored to, so the checksums are of that one. Raises
    BackupError with what to do.
    """
    if place.repository_host:
        raise BackupError(
            f"the repository is on {place.repository_host}, which makes the backups: "
            "run 'systemctl start callytics-backup-diff' there"
        )
    with ledger.ledger(place) as connection:
        size = SQL.value(connection, "size")
        ledger.record(connection, "before")
    pgbackrest.run(place, "back up", size, progress, f"--type={kind or 'diff'}", "backup")
    made = pgbackrest.newest(pgbackrest.backups(place))
    if made is None:
        raise BackupError("the backup was made, but the repository does not list it: run 'callytics backup check'")
    ledger.record_tables(place, made.label, progress)
    return made


def only_reads(place: Place) -> bool:
    """Tell whether this is a member that follows, and shares a store: only the one that leads archives into it."""
    if not place.is_member or place.repository_host:
        return False
    with ledger.session(place) as connection:
        return bool(SQL.value(connection, "in_recovery"))


def record_latest(place: Place, progress: Progress) -> str | None:
    """Record the tables of a backup that another host has made since; returns its label, None if there is none.

    Of a cluster's members only the one that leads can.
    """
    with ledger.session(place) as connection:
        if SQL.value(connection, "in_recovery"):
            return None
    made = pgbackrest.newest(pgbackrest.backups(place))
    if made is None:
        return None
    with ledger.ledger(place) as connection:
        if SQL.value(connection, "recorded", {"label": made.label}):
            return None
    ledger.record_tables(place, made.label, progress)
    return made.label
