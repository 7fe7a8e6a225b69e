"""Everything about an installation on one screen: service, database, schema, imports, backups, drill, alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from callytics.exceptions import CallyticsError
from callytics.postgres.connect import connected
from callytics.postgres.sql import Queries
from callytics.postgres.text import counted, minute
from callytics.schema.versions import newest, pending, unknown
from callytics.settings import Addresses, Settings
from callytics.status import top
from callytics.status.advice import size, span
from callytics.status.asking import NoAnswer, ask, firing

SQL = Queries(Path(__file__).with_suffix(".sql"))
# "none": there is no such part, which is neither right nor wrong.
Level = Literal["ok", "none", "warning", "error"]
IMPORTS = 3
# A backup is made each day and tried each week: later than this, one was missed.
BACKUP_SECONDS, DRILL_SECONDS = 26 * 3600.0, 8 * 86_400.0
LOST_BACKUPS = 3 * 86_400.0
VERDICTS: dict[str, tuple[Level, str, str]] = {
    "verified": ("ok", "verified: everything arrived", ""),
    "rejects": ("warning", "verified, with rejected rows", "look at imports.rejected; 'callytics report' lists them"),
    "different": ("error", "different: not everything arrived", "run 'callytics verify' with its files"),
    "running": ("warning", "unfinished", "if it is not running: the same 'callytics import' continues it"),
    "undone": ("ok", "undone", ""),
}


@dataclass(frozen=True)
class Line:
    """What one part of the installation is like, and what to do about it."""

    subject: str
    level: Level
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Overview:
    """All lines, in the order in which an operator asks."""

    lines: list[Line]

    @property
    def exit_code(self) -> int:
        """Return 1 where there is an error among them."""
        return int(any(line.level == "error" for line in self.lines))

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {"ok": not self.exit_code, "lines": [asdict(line) for line in self.lines]}


def overview(settings: Settings, addresses: Addresses) -> Overview:
    """Ask the service, the database and Prometheus how they are; what does not answer is a line, no exception.

    Reads as the owner where its login is configured, and writes nothing.
    """
    return Overview([*_service(addresses), *_database(settings), *_alerts(addresses)])


def _service(addresses: Addresses) -> Iterator[Line]:
    if addresses.service is None:
        yield Line("service", "none", "not configured here (JWT_SECRET_KEY is not set)")
        return
    try:
        status, found = ask(f"{addresses.service}/health")
    except NoAnswer as error:
        remedy = "systemctl status callytics, or start it: callytics serve"
        yield Line("service", "error", f"{addresses.service} does not answer: {error}", remedy)
        return
    if status == 200 and found.get("status") == "healthy":
        what = f"healthy at {addresses.service}, version {found.get('version')}, {found.get('latency_ms')} ms"
        yield Line("service", "ok", what)
    else:
        reason = found.get("detail") or found.get("title") or f"status {status}"
        yield Line(
            "service", "error", f"{addresses.service}: {reason}", "what PostgreSQL says is below, and in its log"
        )


def _database(settings: Settings) -> Iterator[Line]:
    """Yield the lines that the database has, until it is lost: then that is the last of them."""
    try:
        with connected(settings, owner=True) as connection:
            connection.set_session(readonly=True, autocommit=True)
            top.SQL.run(connection, "settle")
            for subject, asked in PARTS.items():
                yield from _told(subject, asked, connection)
    except CallyticsError as error:
        what, _colon, fix = str(error).rpartition(": ")
        yield Line("database", "error", what or fix, fix if what else "")


def _told(subject: str, asked: Callable[[Connection], Iterator[Line]], connection: Connection) -> Iterator[Line]:
    try:
        yield from [*asked(connection)]
    except (errors.UndefinedTable, errors.UndefinedColumn):
        yield Line(subject, "none", "can't be told before the migrations are applied", "run 'callytics migrate'")
    except errors.InsufficientPrivilege:
        yield Line(subject, "none", "not for this login to see", "ask with the owner's: POSTGRES_OWNER_USER")
    except (errors.LockNotAvailable, errors.QueryCanceled):
        yield Line(subject, "none", "a lock is in the way", "'callytics top' shows whose")


def _server(connection: Connection) -> Iterator[Line]:
    (row,) = SQL.all(connection, "server")
    taken = row["connections"] / row["connections_limit"]
    what = (
        f"PostgreSQL {row['version'].partition(' ')[0]}, up {span(row['up_seconds'])}, {size(row['bytes'])}, "
        f"{row['connections']} of {row['connections_limit']} connections"
    )
    if row["standby"]:
        yield Line(
            "database", "warning", f"{what}; a standby, which takes no writes", "let POSTGRES_HOST name the primary"
        )
    else:
        remedy = "smaller pools (POSTGRES_MAX_CONNECTIONS); 'callytics top' shows the sessions"
        yield Line("database", "warning" if taken >= 0.9 else "ok", what, remedy if taken >= 0.9 else "")


def _schema(connection: Connection) -> Iterator[Line]:
    missing, foreign = pending(connection), unknown(connection)
    if foreign:
        yield Line(
            "schema", "error", f"newer than this program: {foreign[-1]}", "install the newer version of Callytics"
        )
    elif missing:
        yield Line(
            "schema",
            "error",
            f"{counted(len(missing), 'migration')} missing, from {missing[0]}",
            "run 'callytics migrate'",
        )
    else:
        yield Line("schema", "ok", f"{newest()}, as this version needs it")


def _imports(connection: Connection) -> Iterator[Line]:
    rows = SQL.all(connection, "imports", {"most": IMPORTS})
    if not rows:
        yield Line("imports", "none", "nothing has been imported yet")
    for row in rows:
        level, words, remedy = VERDICTS.get(row["verdict"], ("warning", row["verdict"], ""))
        when = row["finished_at"] or row["started_at"]
        names = [path.rpartition("/")[2] for path in row["files"] or ()]
        files = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
        yield Line("imports", level, f"{row['import']} ({when:%Y-%m-%d}, {files}): {words}", remedy)


def _partitions(connection: Connection) -> Iterator[Line]:
    months = SQL.value(connection, "months_ahead")
    remedy = "run 'callytics partitions ahead', and look whether its timer runs"
    if months is None:
        yield Line("partitions", "none", "no table is divided by month")
    elif months < 0:
        yield Line("partitions", "warning", "this month's are missing", remedy)
    else:
        ahead = f"{counted(months, 'month')} ahead"
        yield Line("partitions", "ok" if months else "warning", ahead, "" if months else remedy)


def _backups(connection: Connection) -> Iterator[Line]:
    if not SQL.value(connection, "has_backups"):
        yield Line("backup", "none", "none on record", "hosts: pyinfra inventory.py deploy/backup.py")
        yield Line("drill", "none", "none on record")
        return
    yield backup_line(SQL.one(connection, "backup"))
    yield drill_line(SQL.one(connection, "drill"))


def backup_line(row: dict[str, Any] | None) -> Line:
    """Return what is said of the newest backup, None where there is none."""
    if row is None:
        return Line("backup", "error", "none yet", "run 'callytics backup now' on the database's host")
    what = f"{row['label'] or 'newest'}, {span(row['seconds'])} old"
    if row["seconds"] <= BACKUP_SECONDS:
        return Line("backup", "ok", what)
    level: Level = "error" if row["seconds"] > LOST_BACKUPS else "warning"
    return Line("backup", level, what, "on the database's host: callytics backup check, systemctl list-timers")


def drill_line(row: dict[str, Any] | None) -> Line:
    """Return what is said of the newest trial restore, None where there is none."""
    if row is None:
        return Line(
            "drill", "warning", "no backup was ever tried", "run 'callytics backup drill' on the database's host"
        )
    what = f"{'passed' if row['passed'] else 'FAILED'} {span(row['seconds'])} ago"
    if row["passed"] and row["rto_seconds"] is not None:
        lost = "" if row["rpo_seconds"] is None else f", at most {span(row['rpo_seconds'])} lost"
        what += f": restored in {span(row['rto_seconds'])}{lost}"
    if not row["passed"]:
        return Line("drill", "error", what, "on the database's host: journalctl -u callytics-backup-drill")
    late = row["seconds"] > DRILL_SECONDS
    return Line("drill", "warning" if late else "ok", what, "run 'callytics backup drill'" if late else "")


def _archiving(connection: Connection) -> Iterator[Line]:
    (row,) = top.SQL.all(connection, "archiving")
    if row["mode"] == "off":
        yield Line("archiving", "none", "off: a backup restores to its own moment only")
    elif row["failing"]:
        remedy = "look into PostgreSQL's log: WAL piles up until the disk is full"
        yield Line("archiving", "error", f"fails since {minute(row['failed_at'])}", remedy)
    else:
        last = minute(row["archived_at"]) if row["archived_at"] else "never"
        yield Line("archiving", "ok", f"{counted(row['archived'], 'file')} of WAL, the last {last}")


def _replication(connection: Connection) -> Iterator[Line]:
    rows = top.SQL.all(connection, "standbys")
    slots = [row for row in top.SQL.all(connection, "slots") if not row["active"] or row["state"] == "lost"]
    for row in slots:
        what = f"slot {row['name']}: {row['state'] or 'unused'}, keeps {size(row['held_bytes'] or 0)} of WAL"
        yield Line("replication", "warning", what, "start its reader, or drop the slot before the disk is full")
    if rows:
        lag = max(row["lag_bytes"] or 0 for row in rows)
        names = ", ".join(row["name"] or "?" for row in rows)
        yield Line("replication", "ok", f"{counted(len(rows), 'standby')} ({names}), at most {size(lag)} behind")
    elif not slots:
        yield Line("replication", "none", "no standby")


PARTS: dict[str, Callable[[Connection], Iterator[Line]]] = {
    "database": _server,
    "schema": _schema,
    "imports": _imports,
    "partitions": _partitions,
    "backup": _backups,
    "archiving": _archiving,
    "replication": _replication,
}


def _alerts(addresses: Addresses) -> Iterator[Line]:
    if addresses.prometheus is None:
        yield Line("alerts", "none", "not asked from here (PROMETHEUS_URL is not set)")
        return
    try:
        found = firing(addresses.prometheus)
    except NoAnswer as error:
        remedy = "systemctl status prometheus"
        yield Line("alerts", "error", f"{addresses.prometheus} does not answer: {error}", remedy)
        return
    for alert in found:
        level: Level = "error" if alert["severity"] == "critical" else "warning"
        yield Line("alerts", level, f"{alert['name']}: {alert['summary']}")
    if not found:
        yield Line("alerts", "ok", "none")
