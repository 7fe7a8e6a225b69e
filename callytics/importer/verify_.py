"""Verify: compare every value of imported files again, at any later time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from callytics.exceptions import SourceError, TargetError
from callytics.importer.options import Options, Progress
from callytics.importer.outcome import Outcome
from callytics.importer.plan.importing import ImportActions, ImportPlan
from callytics.importer.plan.work import recorded_works
from callytics.importer.plan.workers import WorkerPool
from callytics.importer.records.entries import SourceRecord
from callytics.importer.session import RESUME, Session, borrowed_snapshot, open_session
from callytics.importer.source.snapshot import Snapshot, refuse_changed
from callytics.importer.target.verify import Verification
from callytics.settings import Settings


def verify_files(settings: Settings, files: Sequence[Path], options: Options, progress: Progress) -> Outcome:
    """Compare every value of imported files with what PostgreSQL holds now.

    Writes only the verdict, and takes no lock: the application may write meanwhile, and what it changes counts as a
    difference. Raises ``SourceError`` if a file was never imported or has changed since, ``TargetError`` if its import
    is unfinished.
    """
    with open_session(settings, options, progress, lock=False) as session:
        outcome = Outcome()
        found: dict[int, list[Verification]] = {}
        for file in files:
            with borrowed_snapshot(file, options) as snapshot:
                record = _imported(session, snapshot)
                found.setdefault(record.run, []).extend(_verify(session, record, snapshot))
                refuse_changed(snapshot)
        # Files of one run have one verdict, however they were named.
        for run, verifications in found.items():
            outcome.differences += [difference for one in verifications for difference in one.examples]
            session.ledger.measure_after(run)
            session.conclude(outcome, run)
        return outcome


def _verify(session: Session, record: SourceRecord, snapshot: Snapshot) -> list[Verification]:
    limits = session.options.limits
    works = list(recorded_works(session.ledger, record, snapshot.path, limits))
    # Workers read on connections of their own; this one must not keep a transaction open for as long as they do.
    session.connection.commit()
    plan = ImportPlan(works, (), {}, limits).verify(works)
    actions = ImportActions(record.run)
    WorkerPool(session.settings, session.options, session.progress, plan, actions.by_kind).run()
    return actions.found


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
            f"verify what was imported with 'callytics verify {path}'"
        )
    raise SourceError(f"{snapshot.source} was never imported here: run 'callytics import {snapshot.source}'")
