"""Sync: bring over what the application has written to SQLite since the import, by differences, in two acts.

snapshot → rows that differ → compare them (as they were, as SQLite has them now, as PostgreSQL does) → apply
proof: every value of every row, as of the moment at which the changes were committed

Only the first act is part of a cut-over's downtime, and it takes as long as SQLite needs to find what differs. What it
writes is one transaction: it is done as a whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from callytics.importer.catching_up.attempt import Attempt
from callytics.importer.catching_up.difference import Comparison, until_written, validate
from callytics.importer.catching_up.file import File
from callytics.importer.catching_up.imported import copies_of, records_of, taken_files, targets_of
from callytics.importer.catching_up.pairs import Pairing
from callytics.importer.catching_up.proof import Proof
from callytics.importer.options import Options, Progress
from callytics.importer.outcome import Synced
from callytics.importer.session import Session, no_new_folders, open_session
from callytics.importer.target.comparing.compare import Ranges
from callytics.importer.target.comparing.found import Found, Nowhere, Pair, Sink
from callytics.importer.target.writing.staging import begin
from callytics.postgres.text import counted
from callytics.schema.readiness.importing import import_connection
from callytics.settings import Settings


def sync_files(
    settings: Settings,
    files: Sequence[Path],
    options: Options,
    progress: Progress,
    *,
    choice: str | None = None,
    dry_run: bool = False,
    of: int | None = None,
) -> Synced:
    """Write to PostgreSQL what differs between imported files as they are now and as they were, in one transaction.

    Rows that were changed in PostgreSQL and in SQLite since the import are clashes: with ``choice`` None nothing is
    written then and the outcome lists them, "ours" keeps these rows, and "theirs" overwrites them. Rows that the
    application added are left alone. Then every value is compared, also of rows that only PostgreSQL has changed: these
    stay, and without "ours" the verdict counts them as different. With "theirs" they are overwritten, for which all
    rows have to be compared before anything is written. ``dry_run`` writes nothing in any case, and finds both kinds.
    With ``of``, the number of an import, the files are later copies of that import's files, whatever their names.

    Raises ``SourceError`` if a file was never imported, is no copy, or a snapshot is gone, ``TargetError`` if an import
    is unfinished or others keep writing to the same rows: PostgreSQL is then as it was. What goes wrong during the
    proof is raised after what was written; ``verify_files`` makes up for it.
    """
    began = time.monotonic()
    with open_session(settings, options, progress) as session, no_new_folders(options.snapshots):
        records = records_of(session, files) if of is None else copies_of(session, files, of)
        for run in sorted({record.run for record in records.values()}):
            session.refuse_archived(run)
        # "theirs" overwrites rows that only PostgreSQL has changed: no difference between two files tells of these.
        with taken_files(session, records, whole=choice == "theirs") as found:
            session.refuse_unfinished(targets_of(session, found))
            if dry_run:
                return _rehearsed(session, found, choice, began)
            # Before anything is written: the proof's moment should follow the commit at once, and a server without
            # another connection should say so now.
            with closing(import_connection(settings)) as holder:
                attempt, outcome = _written(session, found, choice)
                if not outcome.refused:
                    moment = begin(holder, lock=False)
                    outcome.seconds = time.monotonic() - began
                    _prove(session, attempt, outcome, moment)
                    holder.rollback()
            return outcome


def _written(
    session: Session, files: Sequence[File], choice: str | None, *, dry_run: bool = False
) -> tuple[Attempt, Synced]:
    """Find the changes and write them; returns the attempt that did, with its outcome."""

    def pairs_of(file: File) -> list[Pair]:
        return Pairing(session, file).pairs()

    def compare(sink: Sink, moment: str, pairs: Sequence[Pair]) -> list[Found]:
        return Comparison(sink, snapshot=moment, choice=choice).of(session, pairs)

    def attempt(lock: bool) -> tuple[Attempt, Synced]:
        one = Attempt(session, files, pairs_of, compare, choice=choice, dry_run=dry_run)
        return one, one.run(lock)

    return until_written(session, attempt)


def _prove(session: Session, attempt: Attempt, outcome: Synced, moment: str) -> None:
    """Compare everything with what PostgreSQL held when the changes had been committed, and record the verdict.

    The application may write meanwhile: another session holds the ``moment``.
    """
    session.options.notice(_cut_over(outcome))
    validate(session, attempt.files[0].record.run, attempt.keys)

    def compare(pairs: Sequence[Pair], ranges: Sequence[Ranges | None] = ()) -> list[Found]:
        return Comparison(Nowhere(), snapshot=moment, retry=False, word="verify").of(session, pairs, ranges)

    pairs = [pair for file in attempt.files for pair in Pairing(session, file.written()).pairs()]
    session.connection.commit()
    Proof(session, attempt.files, attempt.found, compare).run(outcome, pairs)


def _cut_over(outcome: Synced) -> str:
    return (
        f"{counted(outcome.changed, 'row')} written and committed, {outcome.seconds:.1f} s after the start: "
        "cut over now. Every value is compared next, which may be left to 'callytics verify'"
    )


def _rehearsed(session: Session, files: Sequence[File], choice: str | None, began: float) -> Synced:
    """Return what a sync would do and how long it would take, and what its proof would find."""
    _written(session, files, choice, dry_run=True)
    seconds = time.monotonic() - began
    _, outcome = _written(session, [file.whole() for file in files], choice, dry_run=True)
    outcome.seconds = seconds
    return outcome
