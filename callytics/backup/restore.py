"""Restore the newest backup, or any second since the oldest: beside the database, or in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.backup import ledger, pgbackrest
from callytics.backup.ledger import SQL
from callytics.backup.pgbackrest import Backup, Progress
from callytics.backup.place import Place
from callytics.backup.server import RecoveryEnded, Server
from callytics.exceptions import BackupError, DatabaseUnavailable
from callytics.postgres.text import quoted

# WAL and what recovery writes come on top of the backup's size.
ROOM_SHARE, ROOM_BYTES = 1.1, 512 * 1024 * 1024
ARCHIVE_SECONDS = 120.0
CONFIGURATION = """\
# Written by 'callytics backup restore': a copy of the database, which others can't reach.
listen_addresses = ''
archive_mode = off
"""


@dataclass(frozen=True)
class Restored:
    """A restore that has ended: the folder with the data, and the old one where there was one.

    ``reached`` is False where the archive ends before the moment that was asked for: everything in it is there.
    """

    data: Path
    backup: Backup
    reached: bool
    seconds: float
    before: Path | None = None


def choose(found: list[Backup], moment: datetime | None) -> Backup:
    """Return the backup that a restore starts from; raises BackupError if none is that old, or the time is to come."""
    if not found:
        raise BackupError("the repository has no backup yet: run 'callytics backup now'")
    if moment and moment > datetime.now(UTC) + timedelta(seconds=1):
        raise BackupError(f"{shown(moment)} is yet to come: name a time that has passed")
    chosen = pgbackrest.newest(found, moment)
    if chosen is None:
        raise BackupError(
            f"{shown(moment)} is before the end of the oldest backup: name a time from {shown(found[0].ended)} on"
        )
    return chosen


def shown(moment: datetime | None) -> str:
    """Return a time as people read it and 'restore --to' takes it."""
    return "the end of the archive" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def refuse_without_room(folder: Path, size: int) -> None:
    """Raise BackupError where a restore of ``size`` bytes would not fit."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    needed, free = int(size * ROOM_SHARE) + ROOM_BYTES, shutil.disk_usage(place).free
    if free < needed:
        raise BackupError(
            f"{place} has {free / 2**30:,.1f} GiB free, and the restore needs {needed / 2**30:,.1f} GiB: "
            "make room there, or name a folder on another disk to a restore with --into"
        )


def fetch(place: Place, data: Path, backup: Backup, progress: Progress) -> None:
    """Copy a backup out of the repository into ``data``, which is made for PostgreSQL's account alone."""
    data.mkdir(mode=0o700)
    entry = place.entry()
    os.chown(data, entry.pw_uid, entry.pw_gid)
    options = (f"--pg1-path={data}", f"--set={backup.label}", f"--lock-path={data.parent}/.lock-{data.name}")
    try:
        pgbackrest.run(place, "restore", backup.size, progress, *options, "--type=default", "restore")
    finally:
        shutil.rmtree(f"{data.parent}/.lock-{data.name}", ignore_errors=True)
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        if not (data / name).exists():
            (data / name).write_text(
                {"postgresql.conf": CONFIGURATION, "pg_hba.conf": "local all all peer\n"}.get(name, "")
            )
            os.chown(data / name, entry.pw_uid, entry.pw_gid)
            (data / name).chmod(0o600)


def recover(server: Server, moment: datetime | None, progress: Progress) -> bool:
    """Replay the archive up to a moment, or all of it, until the cluster takes writes; the server then runs.

    Returns False where the archive ends before the moment: then everything in it is there.
    """
    progress("replay the archive", 0, 1)
    target = {"recovery_target_time": f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f+00}"} if moment else {}
    reached = True
    server.start(**target, recovery_target_action="promote")
    try:
        server.wait("in_recovery", False)
    except RecoveryEnded:
        reached = False
        server.start()
        server.wait("in_recovery", False)
    server.forget_archive()
    progress("replay the archive", 1, 1)
    return reached


def restore_into(place: Place, folder: Path, moment: datetime | None, progress: Progress) -> Restored:
    """Restore into a new folder and stop there: the copy takes writes once it is started, and archives nothing.

    Raises BackupError if the folder exists, or lacks room; a restore that fails leaves nothing behind.
    """
    if folder.exists():
        raise BackupError(f"{folder} is there already: name a folder that does not exist yet")
    backup = choose(pgbackrest.backups(place), moment)
    refuse_without_room(folder, backup.size)
    _archive_what_is_committed(place, moment)
    began = time.monotonic()
    try:
        fetch(place, folder, backup, progress)
        reached = _recovered(place, folder, moment, progress, archives=False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Restored(folder, backup, reached, time.monotonic() - began)


def restore_here(
    place: Place, moment: datetime | None, progress: Progress, ready: Callable[[], None] = lambda: None
) -> Restored:
    """Put the database back to a moment: the server stops, the old data moves aside, the restored data takes its place.

    Only root can, as services are stopped. What the old server has not archived yet is archived first. The old data
    stays beside the new, so that nothing is lost by it; if the restore fails, it is put back. ``ready`` is called once
    the restored data is complete, before it is served.
    """
    if os.geteuid() != 0:
        raise BackupError("the server has to be stopped for this: run the command with sudo, or restore with --into")
    data = Path(place.data)
    backup = choose(pgbackrest.backups(place), moment)
    refuse_without_room(data.parent, backup.size)
    with place.as_account():
        _archive_what_is_committed(place, moment)
    before = data.with_name(f"{data.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    _systemctl("stop", place.unit)
    began = time.monotonic()
    had = data.exists()
    if had:
        data.rename(before)
    try:
        fetch(place, data, backup, progress)
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
            # The cluster's own are elsewhere.
            (data / name).unlink()
        reached = _recovered(place, data, moment, progress, archives=True)
        ready()
    except BaseException:
        shutil.rmtree(data, ignore_errors=True)
        if had:
            before.rename(data)
            _systemctl("start", place.unit)
        raise
    _systemctl("start", place.unit)
    return Restored(data, backup, reached, time.monotonic() - began, before if had else None)


def _recovered(place: Place, data: Path, moment: datetime | None, progress: Progress, *, archives: bool) -> bool:
    folder = data.with_name(f".{data.name}-recovery")
    server = Server(place, data, folder, archives=archives)
    try:
        return recover(server, moment, progress)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _archive_what_is_committed(place: Place, moment: datetime | None) -> None:
    """Have the archive go beyond a moment of just now.

    A server that is down has nothing to add, nor has a new host's, whose cluster the repository does not know.
    """
    if moment and moment < datetime.now(UTC) - timedelta(seconds=ARCHIVE_SECONDS):
        return
    try:
        with ledger.session(place) as connection:
            ours = SQL.value(connection, "identifier")
        if ours != pgbackrest.system_identifier(place):
            return
        with ledger.ledger(place) as connection:
            SQL.rows(connection, "alone")
            ledger.record(connection, "restore")
            wait_archived(connection)
    except DatabaseUnavailable:
        return


def wait_archived(connection: Connection) -> None:
    """Have the current WAL archived, and wait until it is; raises BackupError after two minutes."""
    row = SQL.one(connection, "position")
    assert row is not None
    SQL.run(connection, "switch")
    connection.commit()
    deadline = time.monotonic() + ARCHIVE_SECONDS
    while time.monotonic() < deadline:
        state = SQL.one(connection, "archiver")
        connection.commit()
        if state and (state["last_archived_wal"] or "")[:24] >= row["file"]:
            return
        time.sleep(0.5)
    raise BackupError("WAL does not arrive in the repository: run 'callytics backup check'")


def _systemctl(verb: str, unit: str) -> None:
    found = subprocess.run(["systemctl", verb, unit], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise BackupError(f"systemctl {verb} {unit} failed: see {quoted('journalctl -u', unit)}")
