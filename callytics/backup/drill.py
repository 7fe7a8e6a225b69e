"""The restore drill: the newest backup becomes a server of its own, is compared with what was recorded, and goes."""

from __future__ import annotations

import fcntl
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection

from callytics.backup import health, ledger, pgbackrest, restore
from callytics.backup.ledger import SQL, Moment
from callytics.backup.pgbackrest import Backup, Progress
from callytics.backup.place import Place
from callytics.backup.server import PORT, Server, remove
from callytics.exceptions import BackupError, CallyticsError
from callytics.postgres.text import counted

# Transaction ids wrap; recovery is told the lower 32 bits.
XID = 2**32
RPO_SECONDS = 180.0


@dataclass
class Drill:
    """A trial restore: what was restored, how long it took, and what was found, a line each."""

    began: datetime
    target: str
    label: str = ""
    ended: datetime | None = None
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    tables: int = 0
    rows: int = 0
    checked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    # What the doctor finds wrong with the live database, or found when it was backed up, and with what was restored:
    # so it had to be.
    as_before: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether everything was there, unharmed."""
        return self.ended is not None and not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        found = asdict(self) | {"passed": self.passed, "began": self.began.isoformat()}
        # For programs that reckon with it.
        ended = {"ended": self.ended.isoformat(), "ended_at": self.ended.timestamp()} if self.ended else {"ended": None}
        return found | ended


@dataclass(frozen=True)
class Goal:
    """What a drill restores: a backup, to a moment or to the end of the archive, and what must be there.

    ``known`` has the tables' checksums as of the backup; ``last`` is the newest second. A drill that is led to a
    moment has neither: both are of other times. ``faults`` is what doctor found wrong when the backup was made.
    """

    backup: Backup
    moment: datetime | None = None
    known: Moment | None = None
    last: Moment | None = None
    faults: tuple[str, ...] = ()


def drill(place: Place, moment: datetime | None, progress: Progress) -> Drill:
    """Restore into a scratch folder, prove it, and remove it, whatever happens; what was found is recorded.

    What goes wrong or is in the way, such as no room or a repository that can't be read, is in the result: a backup
    that was not restored is not proved, and whoever watches has to learn it. Raises BackupError only where that tells
    nothing of a backup: another drill runs, or ``moment`` can't be restored.
    """
    with _alone(place) as folder:
        _remove_leftovers(place, folder)
        result = Drill(datetime.now(UTC), restore.shown(moment))
        scratch = folder / f"drill-{result.began:%Y%m%dT%H%M%S}"
        try:
            goal = _goal(place, moment, result, progress)
            _prove(Server(place, scratch / "data", scratch / "server"), goal, result, progress)
        except (CallyticsError, OSError, subprocess.SubprocessError) as error:
            if moment and not result.label:
                raise
            result.wrong.append(str(error))
        finally:
            remove(place, scratch / "data", scratch)
        result.ended = datetime.now(UTC)
        _keep(place, result)
        return result


def _goal(place: Place, moment: datetime | None, result: Drill, progress: Progress) -> Goal:
    found = pgbackrest.backups(place)
    with ledger.ledger(place) as connection:
        known = ledger.newest(connection, [one.label for one in found]) if moment is None else None
        backup = next((one for one in found if known and one.label == known.label), None)
        backup = backup or restore.choose(found, moment)
        result.label = backup.label
        restore.refuse_without_room(Path(place.folder), backup.size)
        last = _newest_second(connection, result, progress) if moment is None else None
        faults = SQL.value(connection, "faults", {"label": backup.label}) or ()
    return Goal(backup, moment, known, last, tuple(faults))


def _newest_second(connection: Connection, result: Drill, progress: Progress) -> Moment | None:
    """Commit a moment and see how long it takes until it could be restored, without hurrying the archive.

    A host that is lost loses what was committed within so many seconds before. A standby commits nothing: there it is a
    moment of minutes ago, or none, and no time is measured.
    """
    if SQL.value(connection, "in_recovery"):
        settled = SQL.one(connection, "settled")
        return Moment(settled["id"], settled["at"], int(settled["xid"])) if settled else None
    moment = ledger.record(connection, "drill")
    row = SQL.one(connection, "position")
    assert row is not None
    connection.commit()
    began = time.monotonic()
    while (waited := time.monotonic() - began) < RPO_SECONDS:
        progress("wait for the archive", int(waited), int(RPO_SECONDS))
        state = SQL.one(connection, "archiver")
        connection.commit()
        if state and (state["last_archived_wal"] or "")[:24] >= row["file"]:
            result.rpo_seconds = round(waited, 1)
            return moment
        time.sleep(0.5)
    result.wrong.append(f"what was committed has not reached the repository after {RPO_SECONDS:.0f} seconds")
    return moment


def _prove(server: Server, goal: Goal, result: Drill, progress: Progress) -> None:
    server.data.parent.mkdir(mode=0o700)
    began = time.monotonic()
    restore.fetch(server.place, server.data, goal.backup, progress)
    result.rto_seconds = time.monotonic() - began
    try:
        if goal.known:
            _compare(server, goal.known, result, progress)
        elif goal.moment is None:
            result.wrong.append(
                f"backup {goal.backup.label} has no checksums of its tables: writers could not be stopped for a moment"
            )
        began = time.monotonic()
        reached = restore.recover(server, goal.moment, progress)
        result.rto_seconds = round(result.rto_seconds + time.monotonic() - began, 1)
        _look_at_moments(server, goal.last, goal.moment if reached else None, result)
        _ask_doctor(server, goal.faults, result)
        _ask_amcheck(server, result, progress)
    finally:
        server.stop()


def _compare(server: Server, known: Moment, result: Drill, progress: Progress) -> None:
    """Stop recovery at the commit whose tables were recorded, and compare every one of them."""
    began = time.monotonic()
    progress("replay to the recorded moment", 0, 1)
    server.start(recovery_target_xid=str(known.xid % XID), recovery_target_action="pause")
    server.wait("paused", True)
    assert result.rto_seconds is not None
    assert known.tables is not None
    result.rto_seconds += time.monotonic() - began
    with ledger.session(server.place, socket=server.socket, port=PORT) as connection:
        found = ledger.fingerprints(connection, progress)
        connection.rollback()
    server.stop()
    result.tables, result.rows = len(found), sum(rows for rows, _checksum in found.values())
    result.wrong += ledger.differences(known.tables, found)
    result.checked.append(
        f"{counted(len(found), 'table')} with {counted(result.rows, 'row')} compared with {restore.shown(known.at)}"
    )


def _look_at_moments(server: Server, last: Moment | None, moment: datetime | None, result: Drill) -> None:
    """The newest second that must be there is, and nothing is younger than what was asked for."""
    with ledger.session(server.place, socket=server.socket, port=PORT) as connection:
        if last and SQL.one(connection, "moment", {"id": last.id}) is None:
            result.wrong.append(f"what was committed at {restore.shown(last.at)} is not there")
        if moment and (younger := SQL.value(connection, "beyond", {"until": moment})):
            result.wrong.append(f"{counted(younger, 'moment')} after {restore.shown(moment)} should not be there")
        if last:
            result.checked.append(f"the newest second is there: {restore.shown(last.at)}")


def _ask_doctor(server: Server, before: Sequence[str], result: Drill) -> None:
    """Have doctor look at what was restored, and tell what is wrong with the live database as well from what is not."""
    diagnosis = health.examine(server.place, socket=server.socket, port=PORT)
    known = {*before, *health.faults(health.examine(server.place))}
    found = health.faults(diagnosis)
    result.as_before += [f"doctor: {one}" for one in found if one in known]
    result.wrong += [f"doctor: {one}" for one in found if one not in known]
    result.checked.append(
        f"doctor: {counted(len(diagnosis.findings), 'check')}, {counted(len(found), 'error')}, "
        f"{len(result.as_before)} of them as before the restore"
    )


def _ask_amcheck(server: Server, result: Drill, progress: Progress) -> None:
    """Have pg_amcheck read every table and index; its extension is installed in the scratch cluster only."""
    progress("pg_amcheck", 0, 1)
    place = server.place
    said = subprocess.run(
        [
            place.program("pg_amcheck"),
            *("--install-missing=pg_catalog", "--jobs=2", "-h", server.socket, "-p", str(PORT)),
            *("-U", place.account, "-d", place.database),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        cwd="/",
    )
    if said.returncode != 0:
        lines = [line for line in (said.stdout + said.stderr).splitlines() if line.strip()]
        # Not the lines below, which may quote keys.
        result.wrong.append(f"pg_amcheck: {(lines or ['it failed'])[0]}")
    result.checked.append("pg_amcheck read every table and index")
    progress("pg_amcheck", 1, 1)


def _keep(place: Place, result: Drill) -> None:
    """Record the result in the live database, where it can be reached and is no standby."""
    values = {
        "began": result.began,
        "ended": result.ended,
        "label": result.label,
        "target": result.target,
        "passed": result.passed,
        "rto": result.rto_seconds,
        "rpo": result.rpo_seconds,
        "found": json.dumps({"checked": result.checked, "wrong": result.wrong, "as_before": result.as_before}),
    }
    try:
        with ledger.ledger(place) as connection:
            if not SQL.value(connection, "in_recovery"):
                SQL.run(connection, "drilled", values)
            connection.commit()
    except CallyticsError as error:
        result.wrong.append(f"the database has no record of this drill: {error}")


@contextmanager
def _alone(place: Place) -> Iterator[Path]:
    folder = Path(place.folder)
    with (folder / "drill.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError("another drill is under way: wait for it, or stop callytics-backup-drill") from None
        yield folder


def _remove_leftovers(place: Place, folder: Path) -> None:
    """Remove what a drill that was killed has left, its server too; nobody else's drill runs now."""
    for scratch in folder.glob("drill-*"):
        remove(place, scratch / "data", scratch)
