"""How the backups are, in one document: for 'callytics backup list', status, monitoring, and an alarm each minute."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from callytics.backup import ledger, pgbackrest
from callytics.backup.drill import Drill
from callytics.backup.ledger import SQL
from callytics.backup.pgbackrest import Backup
from callytics.backup.place import Place
from callytics.exceptions import CallyticsError

# Archiving is tried again and again: what waits for longer than this is noticed.
ARCHIVE_SECONDS = 180.0
# A day's backup, and the hours that it may be late.
BACKUP_SECONDS = 36 * 3600.0
DRILL_SECONDS = 15 * 86400.0
# The alert comes while there is still as much room as the WAL takes, and a tenth of the disk.
FREE_SHARE = 0.10
DRILLED = ("target", "label", "passed", "ended", "ended_at", "rto_seconds", "rpo_seconds")


@dataclass
class State:
    """What was found; times are seconds since 1970, None where there is none yet.

    ``wrong`` has a line for each fault, with what to do.
    """

    at: float
    standby: bool = False
    archive_waiting: int | None = None
    archive_waiting_seconds: float = 0.0
    archive_failed: bool = False
    archived_at: float | None = None
    wal_bytes: int | None = None
    wal_free_bytes: int | None = None
    wal_disk_bytes: int | None = None
    backups: int = 0
    newest_backup: str | None = None
    newest_backup_at: float | None = None
    newest_full_at: float | None = None
    newest_backup_bytes: int | None = None
    drill: dict[str, Any] | None = None
    verified_at: float | None = None
    wrong: list[str] = field(default_factory=list)


def look(place: Place) -> State:
    """Find out how archiving and backups are; whatever cannot be asked is a fault too, and no exception."""
    state = State(time.time())
    earlier = read(place)
    state.drill, state.verified_at = earlier.get("drill"), earlier.get("verified_at")
    for ask in (_archiving, _wal_disk, _backups, _members_drill, _drill):
        try:
            ask(place, state)
        except CallyticsError as error:
            state.wrong.append(str(error))
    return state


def keep_archiving(place: Place) -> None:
    """Have PostgreSQL archive what was committed a minute ago, also soon after it has started, or recovered by itself.

    It looks at ``archive_timeout`` then only after ``checkpoint_timeout``, a quarter of an hour. Where it can't be
    asked nothing happens: :func:`look` tells of it.
    """
    with suppress(CallyticsError), ledger.session(place) as connection:
        SQL.rows(connection, "wake")


def read(place: Place) -> dict[str, Any]:
    """Return what was written last; nothing before the first time."""
    try:
        found: dict[str, Any] = json.loads(place.state.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def write(place: Place, state: State) -> None:
    """Write the state for programs, and for Prometheus's textfile collector; each file is whole at any moment."""
    _replace(place.state, json.dumps(asdict(state), ensure_ascii=False, indent=2) + "\n")
    _replace(place.metrics, metrics(state))


def keep_drill(place: Place, result: Drill) -> None:
    """Note a drill's result, and write how everything is now."""
    state = look(place)
    state.drill = result.as_dict()
    state.wrong = [line for line in state.wrong if not line.startswith("drill")]
    _drill(place, state)
    write(place, state)


def keep_verified(place: Place) -> None:
    """Note that the repository was read and verified."""
    state = look(place)
    state.verified_at = time.time()
    write(place, state)


def metrics(state: State) -> str:
    """Return the state as Prometheus reads it; what is not known yet has no line."""
    drill = state.drill or {}
    ended = drill.get("ended_at")
    values: dict[str, tuple[str, float | None]] = {
        "state_timestamp_seconds": ("When this was written.", state.at),
        "archive_waiting_files": ("WAL files that wait for the archive.", state.archive_waiting),
        "archive_waiting_seconds": ("How long the oldest of them has waited.", state.archive_waiting_seconds),
        "archive_failed": ("Whether the last attempt to archive failed.", float(state.archive_failed)),
        "archive_timestamp_seconds": ("When WAL was archived last.", state.archived_at),
        "wal_bytes": ("How much room the WAL takes.", state.wal_bytes),
        "wal_free_bytes": ("Free room on the WAL's disk.", state.wal_free_bytes),
        "wal_disk_bytes": ("Size of the WAL's disk.", state.wal_disk_bytes),
        "backups": ("Backups in the repository.", state.backups),
        "newest_timestamp_seconds": ("When the newest backup ended.", state.newest_backup_at),
        "newest_full_timestamp_seconds": ("When the newest full backup ended.", state.newest_full_at),
        "newest_bytes": ("How large the database was in the newest backup.", state.newest_backup_bytes),
        "verified_timestamp_seconds": ("When the repository was verified last.", state.verified_at),
        "drill_timestamp_seconds": ("When the last drill ended.", ended),
        "drill_passed": ("Whether the last drill gave everything back.", _number(drill.get("passed"))),
        "drill_rto_seconds": ("How long the last drill's restore took.", drill.get("rto_seconds")),
        "drill_rpo_seconds": ("How old what the archive lacked was in the last drill.", drill.get("rpo_seconds")),
        "faults": ("What is wrong, in 'callytics backup list'.", len(state.wrong)),
    }
    return "".join(
        f"# HELP callytics_backup_{name} {says}\n# TYPE callytics_backup_{name} gauge\n"
        f"callytics_backup_{name} {float(value):.3f}\n"
        for name, (says, value) in values.items()
        if value is not None
    )


def _archiving(place: Place, state: State) -> None:
    with ledger.session(place) as connection:
        row = SQL.one(connection, "archiver")
        connection.rollback()
    assert row is not None
    state.standby, state.wal_bytes = row["standby"], row["wal_bytes"]
    if state.standby:
        # What is archived is said by the one that leads; what waits here is of a time when this member did.
        return
    state.archive_waiting, state.archived_at = row["waiting"], row["archived_at"]
    state.archive_waiting_seconds = max(state.at - (row["waiting_since"] or state.at), 0.0)
    state.archive_failed = (row["failed_at"] or 0) > (row["archived_at"] or 0)
    if row["archive_mode"] == "off":
        state.wrong.append("archiving is off: run 'pyinfra inventory.py deploy/backup.py'")
    elif state.archive_waiting_seconds > ARCHIVE_SECONDS:
        state.wrong.append(
            f"archiving fails: {state.archive_waiting} WAL files wait, the oldest for "
            f"{state.archive_waiting_seconds:,.0f} s: run 'callytics backup check'"
        )


def _wal_disk(place: Place, state: State) -> None:
    try:
        disk = shutil.disk_usage(Path(place.data, "pg_wal"))
    except FileNotFoundError:
        return
    state.wal_free_bytes, state.wal_disk_bytes = disk.free, disk.total
    if disk.free < max(disk.total * FREE_SHARE, state.wal_bytes or 0):
        state.wrong.append(
            f"the WAL's disk has only {disk.free / 2**30:,.1f} GiB of {disk.total / 2**30:,.1f} GiB free: "
            "PostgreSQL stops when it is full, make room"
        )


def _backups(place: Place, state: State) -> None:
    found = pgbackrest.backups(place)
    state.backups = len(found)
    newest = pgbackrest.newest(found)
    if newest is None:
        state.wrong.append("there is no backup yet: run 'callytics backup now'")
        return
    full = pgbackrest.newest([one for one in found if one.kind == "full"])
    state.newest_backup, state.newest_backup_at = newest.label, newest.ended.timestamp()
    state.newest_full_at = full.ended.timestamp() if full else None
    state.newest_backup_bytes = newest.size
    if state.at - state.newest_backup_at > BACKUP_SECONDS:
        age = (state.at - state.newest_backup_at) / 3600
        state.wrong.append(f"the newest backup is {age:,.0f} hours old: run 'callytics backup now'")
    state.wrong += [f"backup {one.label} is damaged: run 'callytics backup now --type full'" for one in damaged(found)]


def _members_drill(place: Place, state: State) -> None:
    """Take the last drill of a cluster from its records: it was done by whichever member led then."""
    if not place.is_member or not state.newest_backup:
        return
    with ledger.ledger(place) as connection:
        row = SQL.one(connection, "last_drill")
        connection.rollback()
    if row and row["ended_at"] > (state.drill or {}).get("ended_at", 0.0):
        state.drill = {name: row[name] for name in DRILLED}


def _drill(_place: Place, state: State) -> None:
    if not state.drill:
        return
    ended = state.drill.get("ended_at") or 0.0
    if not state.drill["passed"]:
        state.wrong.append("drill: the last trial restore failed: run 'callytics backup drill'")
    elif state.at - ended > DRILL_SECONDS:
        state.wrong.append("drill: the last trial restore is weeks ago: run 'callytics backup drill'")


def damaged(found: list[Backup]) -> list[Backup]:
    """Return the backups in which pgBackRest has found pages with wrong checksums."""
    return [one for one in found if one.damaged]


def _number(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)
