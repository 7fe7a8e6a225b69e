"""What the figures of `callytics top` mean: each finding with what to do. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callytics.postgres.sql import Row
from callytics.postgres.text import counted, minute
from callytics.schema.catalogue.catalogue import expected
from callytics.settings import is_deployed

MIB, GIB = 1024**2, 1024**3
# Seconds of a transaction from which it is in others' way, and of statistics from which "never used" means something.
LONG_TRANSACTION, LONG_WAIT = 300.0, 5.0
SETTLED_SECONDS = 7 * 86_400.0
DEAD_ROWS, DEAD_SHARE = 10_000, 0.2
SCANS, ROWS_A_SCAN = 100, 10_000
HELD_WAL = GIB
CACHE_HITS, BLOCKS = 0.9, 100_000
MANY_CHECKPOINTS = 10


@dataclass(frozen=True)
class Advice:
    """A finding about a subject, and its remedy."""

    subject: str
    what: str
    remedy: str


# The settings that are looked at.
SETTINGS = (
    "autovacuum",
    "checkpoint_completion_target",
    "effective_cache_size",
    "idle_in_transaction_session_timeout",
    "log_lock_waits",
    "max_wal_size",
    "random_page_cost",
    "shared_buffers",
    "track_io_timing",
)
# What somebody grants or sets by hand on provisioned hosts is taken back by the next deployment.
AS_MONITOR = (
    "on the database's host: runuser -u callytics_monitor -- callytics --env-file /etc/callytics/monitor.env top"
)
DEPLOYED = "deploy it: pyinfra -y inventory.py deploy/site.py; what is set by hand is taken back by that"
# What PostgreSQL has where nobody has set anything: https://www.postgresql.org/docs/15/runtime-config-resource.html
DEFAULT_SHARED_BUFFERS, DEFAULT_PAGE_COST = 128 * MIB, "4"


def size(count: float) -> str:
    """Return bytes for reading, in powers of 1,024 as PostgreSQL counts them: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1024:
            return f"{count:,.0f} {unit}" if unit in ("B", "kB") or count >= 100 else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TB"


def span(seconds: float | None) -> str:
    """Return a time for reading in its largest units: 4.2 s, 3 min, 2 h 05 min, 12 d."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"
    return f"{seconds / 86_400:.0f} d"


def sight(seen: Row) -> Iterator[Advice]:
    """Without pg_read_all_stats other roles' sessions are there, but not what they do."""
    if not seen["sees_all"]:
        remedy = f"as a superuser: GRANT pg_monitor TO {seen['identifier']}; or let POSTGRES_USER be callytics_monitor"
        yield Advice(
            "sessions",
            f"{seen['role']} does not see what sessions of other roles do, nor their statements",
            AS_MONITOR if is_deployed() else remedy,
        )


def untold(subject: str, error: BaseException) -> Advice:
    """Name a section that has no answer."""
    why = {
        "LockNotAvailable": "a table is locked, and this does not queue for it",
        "QueryCanceled": "it took longer than 15 s",
    }.get(type(error).__name__, "this role may not see it")
    return Advice(subject, f"could not be told: {why}", "look again, or as callytics_monitor")


def no_statements(*, installed: bool) -> Advice:
    """Without the extension nobody knows which statements cost most."""
    load = "add pg_stat_statements to shared_preload_libraries and restart"
    make = "" if installed else ", then as a superuser: CREATE EXTENSION pg_stat_statements"
    return Advice("statements", "not counted: the server does not run pg_stat_statements", f"{load}{make}")


def no_widths(seen: Row) -> Advice:
    """The estimate needs the columns' statistics, which only those see who may read the columns."""
    what = f"tables' bloat is not estimated: {seen['role']} may not see the statistics of their columns"
    return Advice("bloat", what, "ask as the owner (POSTGRES_OWNER_USER) or callytics_readonly")


def given(seen: Row, sections: Mapping[str, Sequence[Row]]) -> Iterator[Advice]:
    """Yield what is worth doing, the most urgent first."""
    for row in sections["blocking"]:
        yield from _blocking(row)
    for name, say in FINDINGS.items():
        for row in sections[name]:
            yield from say(row)
    yield from _indexes(seen, sections)
    yield from _server(seen, sections)


def _blocking(row: Row) -> Iterator[Advice]:
    if (row["seconds"] or 0.0) >= LONG_WAIT:
        on = f" on {row['relation']}" if row["relation"] else ""
        who = f"process {row['blocked_by']}" if row["blocked_by"] else "a prepared transaction"
        end = f"SELECT pg_terminate_backend({row['blocked_by']})" if row["blocked_by"] else "ROLLBACK PREPARED"
        yield Advice(
            "locks",
            f"process {row['pid']} waits for a lock{on} since {span(row['seconds'])}, held up by {who}",
            f"let that one end, or end it: {end}",
        )


def _session(row: Row) -> Iterator[Advice]:
    idle = (row["state"] or "").startswith("idle in transaction")
    if (row["transaction_seconds"] or 0.0) < LONG_TRANSACTION:
        return
    what = f"process {row['pid']} of {row['role']} has a transaction open since {span(row['transaction_seconds'])}"
    if idle:
        what += ", and does nothing in it"
    remedy = f"vacuum can't remove rows meanwhile: end it, or SELECT pg_terminate_backend({row['pid']})"
    yield Advice("sessions", what, remedy)


def _table(row: Row) -> Iterator[Advice]:
    all_rows = row["dead_rows"] + row["live_rows"]
    if row["dead_rows"] >= DEAD_ROWS and row["dead_rows"] >= DEAD_SHARE * all_rows:
        share = row["dead_rows"] / all_rows
        yield Advice(
            "tables",
            f"{row['name']}: {row['dead_rows']:,} dead rows ({share:.0%})",
            f"VACUUM (ANALYZE) {row['name']}; if they come back: autovacuum_vacuum_scale_factor of that table",
        )
    if row["scans"] >= SCANS and row["scanned_rows"] >= ROWS_A_SCAN * row["scans"]:
        each = row["scanned_rows"] // row["scans"]
        yield Advice(
            "missing index",
            f"{row['name']}: read as a whole {row['scans']:,} times, {each:,} rows each",
            "find its statement above, look at its plan with EXPLAIN, and make the index that it lacks in a migration",
        )


def _month(row: Row) -> Iterator[Advice]:
    if row["unfrozen"]:
        what = f"{row['name']}: {counted(row['unfrozen'], 'month')} over and not frozen yet"
        yield Advice("vacuum", what, "as the owner of the tables: 'callytics partitions freeze'")
    if row["late"]:
        what = f"{row['name']}: {counted(row['late'], 'month')} written to and vacuumed late"
        yield Advice("vacuum", what, "run 'callytics partitions ahead'")


def _key(row: Row) -> Iterator[Advice]:
    columns = ", ".join(row["columns"])
    yield Advice(
        "missing index",
        f"{row['relation']}: no index for its foreign key {row['name']}; a parent's delete reads the whole table",
        f"if parents are ever deleted: CREATE INDEX CONCURRENTLY ON {row['relation']} ({columns})",
    )


def _bloat(row: Row) -> Iterator[Advice]:
    yield Advice(
        "bloat",
        f"{row['name']}: about {size(row['bloat_bytes'])} of {size(row['bytes'])} are empty ({row['share']:.0%})",
        f"new rows fill it; to give it back: VACUUM (FULL) {row['name']}, which locks the table meanwhile",
    )


def _standby(row: Row) -> Iterator[Advice]:
    if (row["lag_bytes"] or 0) >= HELD_WAL:
        yield Advice(
            "replication",
            f"standby {row['name']} is {size(row['lag_bytes'])} behind ({row['state']})",
            "look at its log, its disk and the network between",
        )


def _slot(row: Row) -> Iterator[Advice]:
    if row["state"] == "lost":
        drop = f"SELECT pg_drop_replication_slot('{row['name']}')"
        yield Advice("replication", f"slot {row['name']} has lost its WAL", f"make its standby anew, then {drop}")
    elif (row["held_bytes"] or 0) >= HELD_WAL:
        yield Advice(
            "replication",
            f"slot {row['name']} keeps {size(row['held_bytes'])} of WAL"
            + ("" if row["active"] else ", which nobody reads"),
            "start its reader, or drop the slot before the disk is full",
        )


def _archive(row: Row) -> Iterator[Advice]:
    if row["mode"] != "off" and row["failing"]:
        yield Advice(
            "archiving",
            f"fails since {minute(row['failed_at'])} ({counted(row['failed'], 'failure')})",
            "look into PostgreSQL's log for the archive_command's error: WAL piles up until the disk is full",
        )


FINDINGS = {
    "sessions": _session,
    "archiving": _archive,
    "standbys": _standby,
    "slots": _slot,
    "tables": _table,
    "months": _month,
    "unindexed_keys": _key,
    "bloat": _bloat,
}


def _indexes(seen: Row, sections: Mapping[str, Sequence[Row]]) -> Iterator[Advice]:
    ours = {part.name for part in expected().parts if part.kind == "index"}
    for row in sections["unused_indexes"]:
        remedy = f"if standbys do not use it either: DROP INDEX CONCURRENTLY {row['name']}"
        if row["short"] in ours:
            remedy = "part of Callytics' schema: leave it, 'doctor' would miss it"
        if seen["counted_seconds"] < SETTLED_SECONDS:
            remedy += f" (counted for {span(seen['counted_seconds'])} only)"
        yield Advice("unused index", f"{row['name']} of {row['relation']}: {size(row['bytes'])}, never used", remedy)


def _server(seen: Row, sections: Mapping[str, Sequence[Row]]) -> Iterator[Advice]:
    yield from _cache(seen)
    if seen["deadlocks"]:
        what = f"{counted(seen['deadlocks'], 'deadlock')} since {seen['counted_since']:%Y-%m-%d}"
        yield Advice("locks", what, "let transactions lock rows in one order; PostgreSQL's log names the statements")
    if seen["connections"] >= 0.9 * seen["connections_limit"]:
        what = f"{seen['connections']} of {seen['connections_limit']} connections are taken"
        yield Advice(
            "sessions", what, "smaller pools (POSTGRES_MAX_CONNECTIONS) or PgBouncer; see the manual's page on scaling"
        )
    yield from _settings(seen, sections)


def _cache(seen: Row) -> Iterator[Advice]:
    blocks = seen["blocks_hit"] + seen["blocks_read"]
    if blocks >= BLOCKS and seen["blocks_hit"] < CACHE_HITS * blocks:
        share = seen["blocks_hit"] / blocks
        what = f"{share:.0%} of blocks are found in memory"
        yield Advice("memory", what, "more memory or larger shared_buffers, or the index that a large statement lacks")


def _settings(seen: Row, sections: Mapping[str, Sequence[Row]]) -> Iterator[Advice]:
    values = {row["name"]: row for row in sections["settings"]}
    for name, is_wrong, what, remedy in RULES:
        if name in values and is_wrong(values[name], seen):
            how = DEPLOYED if is_deployed() else remedy
            yield Advice("settings", f"{name} = {values[name]['setting']}: {what}", how)
    for row in sections["checkpoints"]:
        if row["requested"] >= MANY_CHECKPOINTS and row["requested"] > row["timed"]:
            what = f"{row['requested']:,} checkpoints began early for want of max_wal_size, {row['timed']:,} in time"
            yield Advice("settings", what, "a larger max_wal_size, as deploy/tuning.py reckons it")


def _small_buffers(row: Row, seen: Row) -> bool:
    return bool(row["bytes"] <= DEFAULT_SHARED_BUFFERS < seen["bytes"])


# Setting, when it is wrong, what that costs, what to do. https://www.postgresql.org/docs/15/runtime-config.html
RULES: tuple[tuple[str, Any, str, str], ...] = (
    (
        "shared_buffers",
        _small_buffers,
        "PostgreSQL's default, and the database is larger",
        "a quarter of the machine's memory, as deploy/tuning.py reckons it; takes a restart",
    ),
    (
        "random_page_cost",
        lambda row, _seen: row["setting"] == DEFAULT_PAGE_COST,
        "the planner takes the disk for a turning one and avoids indexes",
        "on an SSD: ALTER SYSTEM SET random_page_cost = 1.1, and reload",
    ),
    (
        "autovacuum",
        lambda row, _seen: row["setting"] == "off",
        "dead rows stay until the disk is full",
        "ALTER SYSTEM SET autovacuum = on, and reload",
    ),
    (
        "idle_in_transaction_session_timeout",
        lambda row, _seen: row["setting"] == "0",
        "a forgotten transaction is never ended",
        "ALTER SYSTEM SET idle_in_transaction_session_timeout = '1h', and reload",
    ),
    (
        "log_lock_waits",
        lambda row, _seen: row["setting"] == "off",
        "nobody learns afterwards who waited for whom",
        "ALTER SYSTEM SET log_lock_waits = on, and reload",
    ),
    (
        "track_io_timing",
        lambda row, _seen: row["setting"] == "off",
        "what a slow statement waits for is not seen",
        "ALTER SYSTEM SET track_io_timing = on, and reload",
    ),
)
