"""Preparation: the partitions that an import's rows go to, and the indexes and keys that are deferred for its load.

Each change is committed by itself: a server has not the locks to change hundreds of partitions in one transaction. So
whatever ends an import here, what is recorded of it is what was done.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC

from callytics.importer.convert.chunks import Conversion
from callytics.importer.convert.zones import months_around
from callytics.importer.costs import costs_of
from callytics.importer.outcome import Outcome
from callytics.importer.plan.work import MappedWork, Work
from callytics.importer.session import Session
from callytics.importer.source.snapshot import Snapshot
from callytics.postgres.text import sized
from callytics.schema.doctor.doctor import is_local


def prepare(session: Session, run: int, works: Sequence[Work], outcome: Outcome) -> None:
    """Create partitions, and defer indexes and keys. Commits. Months that get no partition are noted in the outcome."""
    target = session.target
    todo = [work.conversion for work in works if isinstance(work, MappedWork) and not work.record.loaded_at]
    for conversion in todo:
        if target.is_partitioned(conversion.target):
            _make_months(session, conversion, outcome)
    targets = {conversion.target for conversion in todo}
    _defer(session, run, target.definitions(sorted(targets)))
    # After the foreign keys: PostgreSQL does not drop a primary key that one of them depends on.
    _defer(session, run, target.primary_keys(sorted(large_targets(session, works) & targets)))
    session.connection.commit()


def note_room(session: Session, snapshots: Iterable[Snapshot], outcome: Outcome) -> None:
    """Note where the server's disk has less room than an import takes, if both are on this machine and it may know."""
    folder = session.target.data_directory()
    if folder is None or not all(map(is_local, session.settings.hosts)):
        return
    needed = costs_of(None, sum(snapshot.size_bytes for snapshot in snapshots), 0).target_bytes
    # A container on this machine has its folder elsewhere.
    with suppress(OSError):
        if (free := shutil.disk_usage(folder).free) < needed:
            outcome.notes.append(
                f"the import takes about {sized(needed)} in PostgreSQL, and {sized(free)} are free in {folder}: free "
                "some, or it stops there, and the same command goes on once there is room"
            )


def _make_months(session: Session, conversion: Conversion, outcome: Outcome) -> None:
    days = conversion.source.days(conversion.table_mapping)
    months = {day[:7] for day in days} if conversion.zone is UTC else months_around(days)
    made, left = session.target.missing_months(conversion.target, months)
    for month in made:
        session.target.make_month(conversion.target, month)
        session.connection.commit()
    if left:
        outcome.notes.append(
            f"{conversion.target}: rows of {left[0]} to {left[-1]} go to its default partition, as the server has no "
            "locks for more partitions: raise max_locks_per_transaction and restart it, then do what 'callytics "
            "doctor' says of them"
        )


def large_targets(session: Session, works: Sequence[Work]) -> set[str]:
    """Return the tables that many rows go to, if their ids are certainly unique.

    Only these can do without their primary key during the load: with duplicates it could not be built afterwards,
    while a duplicate that meets the key is rejected as a row.
    """
    rows: Counter[str] = Counter()
    for work in works:
        rows[work.target] += work.record.source_rows
    uncertain = {work.target for work in works if not (isinstance(work, MappedWork) and work.key_is_unique)}
    return {target for target in rows if rows[target] >= session.options.limits.large_table_rows} - uncertain


def _defer(session: Session, run: int, definitions: Sequence[tuple[str, str, str, str]]) -> None:
    """Drop indexes and keys. Commits each with its definition, so that a crash can't lose one."""
    for kind, table, name, definition in definitions:
        session.ledger.add_definition(run, kind, table, name, definition)
        session.target.defer(kind, table, name)
        session.connection.commit()
