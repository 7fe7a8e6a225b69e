"""Verify: compare every value of imported files again, at any later time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from callytics.exceptions import SourceError, TargetError
from callytics.importer.options import Options, Progress
from callytics.importer.outcome import Outcome
from callytics.importer.plan.importing import ImportActions, ImportPlan
from callytics.importer.plan.work import recorded_works
from callytics.importer.plan.workers import WorkerPool
from callytics.importer.records.entries import SourceRecord, TableSummary
from callytics.importer.session import RESUME, Session, borrowed_snapshot, open_session, verdict_on
from callytics.importer.source.snapshot import Snapshot, refuse_changed
from callytics.importer.target.comparing.verify import Verification
from callytics.postgres.connect import why_read_only
from callytics.postgres.text import quoted
from callytics.settings import Settings


def verify_files(settings: Settings, files: Sequence[Path], options: Options, progress: Progress) -> Outcome:
    """Compare every value of imported files with what PostgreSQL holds now.

    Writes only the verdict, and takes no lock: the application may write meanwhile, and what it changes counts as a
    difference. On a server that takes no writes, such as a standby, the outcome notes that the verdict is not recorded.
    Raises ``SourceError`` if a file was never imported or has changed since, ``TargetError`` if its import is
    unfinished.
    """
    with open_session(settings, options, progress, lock=False, writes=False) as session:
        outcome = Outcome()
        unwritable = why_read_only(session.connection)
        # Files of one run have one verdict, however they were named.
        for run, found in _found(session, files, records=not unwritable).items():
            outcome.differences += [difference for one in found.values() for difference in one.examples]
            if unwritable:
                _judge(session, outcome, run, found)
            else:
                session.ledger.measure_after(run)
                session.conclude(outcome, run)
        if unwritable:
            outcome.notes.append(f"the server takes no writes ({unwritable}): the verdict is not recorded there")
        return outcome


def _found(session: Session, files: Sequence[Path], *, records: bool) -> dict[int, dict[int, Verification]]:
    """Compare files and return what was found, by run and by the number of the table's record."""
    found: dict[int, dict[int, Verification]] = {}
    for file in files:
        with borrowed_snapshot(file, session.options) as snapshot:
            record = _imported(session, snapshot)
            session.refuse_archived(record.run)
            found.setdefault(record.run, {}).update(_verify(session, record, snapshot, records=records))
            refuse_changed(snapshot)
    return found


def _verify(session: Session, record: SourceRecord, snapshot: Snapshot, *, records: bool) -> dict[int, Verification]:
    limits = session.options.limits
    works = list(recorded_works(session.ledger, record, snapshot.path, limits))
    # Workers read on connections of their own; this one must not keep a transaction open for as long as they do.
    session.connection.commit()
    plan = ImportPlan(works, (), {}, limits).verify(works)
    actions = ImportActions(record.run, records=records)
    WorkerPool(session.settings, session.options, session.progress, plan, actions.by_kind).run()
    return actions.found


def _judge(session: Session, outcome: Outcome, run: int, found: Mapping[int, Verification]) -> None:
    """Add the verdict on a run to the outcome as it would be recorded."""
    tables = [_judged(table, found.get(table.id)) for table in session.ledger.summary(run)]
    outcome.add_run(run, verdict_on(tables), session.ledger)
    outcome.tables = [table for table in outcome.tables if table.id not in {one.id for one in tables}] + tables


def _judged(table: TableSummary, found: Verification | None) -> TableSummary:
    return replace(table, verified_rows=found.rows, different_rows=found.different) if found else table


def _imported(session: Session, snapshot: Snapshot) -> SourceRecord:
    """Return the record of a file's import by its content; if there is none, raise what to do about it."""
    if record := session.ledger.source_by_sha256(snapshot.sha256):
        if record.status == "running":
            raise TargetError(f"import {record.run} of {record.path} is unfinished: {RESUME} ('callytics import')")
        return record
    if earlier := session.ledger.run_of_path(snapshot.source):
        run, path = earlier
        raise SourceError(
            f"{snapshot.source} has changed since import {run}: bring the changes over with 'callytics sync', or "
            f"verify what was imported with {quoted('callytics verify', path)}"
        )
    raise SourceError(f"{snapshot.source} was never imported here: run {quoted('callytics import', snapshot.source)}")
