"""Undo: delete everything that one import brought, and leave everything else as it is.

The snapshots of the import tell which rows are its own. If one of these was changed in PostgreSQL since, or a row was
added there that refers to one, nothing is deleted until the user decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from callytics.exceptions import TargetError
from callytics.importer.difference import (
    Comparison,
    base_source,
    begin,
    clash_on,
    pair_of,
    take_found,
    until_written,
    validate,
)
from callytics.importer.options import Options, Progress, zone_named
from callytics.importer.outcome import Synced
from callytics.importer.records.entries import SourceRecord
from callytics.importer.session import Session, open_session
from callytics.importer.target.found import Found, Pair
from callytics.importer.target.staging import Staging
from callytics.settings import Settings


def check_undo(settings: Settings, run: int) -> None:
    """Raise `CallyticsError` where the undoing of an import could not begin; what its rows say is told by undoing."""
    with open_session(settings, Options(), lambda *_: None, lock=False) as session:
        session.refuse_unfinished()
        _check_run(session, run)


def undo_import(
    settings: Settings, run: int, options: Options, progress: Progress, *, force: bool = False, dry_run: bool = False
) -> Synced:
    """Delete every row that an import brought, including its rejected and unmapped rows, in one transaction.

    If rows of the import were changed in PostgreSQL since, or rows added there refer to them, nothing is deleted and
    the outcome lists them, unless ``force`` gives them up. ``dry_run`` writes nothing in any case. Ids are not given
    out again. The run stays on record, and the same files can be imported again.

    Raises ``TargetError`` if there is no such run, an import is unfinished, or another import refers to the rows;
    ``SourceError`` if a snapshot is gone. PostgreSQL is then as it was.
    """
    with open_session(settings, options, progress) as session:
        session.refuse_unfinished()
        _check_run(session, run)
        # Locked from the start, so that foreign keys can be deferred: with them, every deleted row would be looked up
        # in every table and partition that refers to it.
        return until_written(session, lambda held: Undo(session, run, force, dry_run).run(held), lock=not dry_run)


def _check_run(session: Session, run: int) -> None:
    """Refuse a run that does not exist or is undone already. Commits."""
    status = session.ledger.run_status(run)
    if status is None:
        raise TargetError(f"there is no import {run}: 'callytics report' names those that there are")
    if status == "undone":
        raise TargetError(f"import {run} was undone already: nothing is left of it")
    session.connection.commit()


class Undo:
    """One attempt: the comparison of an import with PostgreSQL and its deletion, in one transaction of the session."""

    def __init__(self, session: Session, number: int, force: bool, dry_run: bool) -> None:
        self.session, self.number, self.force, self.dry_run = session, number, force, dry_run
        self.ledger, self.target = session.ledger, session.target
        self.staging = Staging(session.connection)

    def run(self, lock: bool) -> Synced:
        """Compare and delete. Commits, or rolls everything back if rows clash or nothing is to be written."""
        outcome = Synced(dry_run=self.dry_run, choice="force" if self.force else None, runs=[self.number])
        found = self._compare(begin(self.session.connection, lock=lock))
        self.staging.prepare()
        self._check_children(found)
        take_found(outcome, found)
        if outcome.unsolvable or (outcome.clashed and not self.force):
            outcome.refuse()
        if outcome.refused or self.dry_run:
            self.session.connection.rollback()
            return outcome
        self._delete()
        return outcome

    def _compare(self, moment: str) -> list[Found]:
        pairs = [pair for record in self.ledger.sources(self.number) for pair in self._pairs(record)]
        # To the comparison the file is empty now: what "theirs" means is that every row goes.
        comparison = Comparison(self.staging, snapshot=moment, choice="theirs" if self.force else None)
        return comparison.of(self.session, pairs)

    def _pairs(self, record: SourceRecord) -> Iterator[Pair]:
        base, zone = base_source(self.session, record), zone_named(record.timezone)
        for row in self.ledger.tables(record.id):
            yield pair_of(row, base, None, self.target, zone)

    def _check_children(self, found: Sequence[Found]) -> None:
        """Find rows that refer to the import's: those of another import are refused, others are clashes."""
        children = self.staging.remaining_children()
        for other in sorted({row.run for row in children if row.run}):
            raise TargetError(
                f"rows of import {other} refer to rows of import {self.number}: undo that one first "
                f"('callytics undo {other}')"
            )
        for row in children:
            clash_on(found, row, final=False)
        # These are given up as well. What refers to them in turn may be another import's, which `force` does not mean.
        if self.force and children:
            self.staging.add_children()
            self._refuse_others()

    def _refuse_others(self) -> None:
        """Refuse if rows of another import refer to rows that were added in PostgreSQL and would be deleted, too."""
        for row in self.staging.remaining_children():
            raise TargetError(
                f"row {row.key} of {row.table}, which import {row.run} brought, refers to a row that was added in "
                "PostgreSQL and would go: undo that import first"
            )

    def _delete(self) -> None:
        self.session.progress(f"undo import {self.number}", 0, 1)
        keys = self.staging.apply(defer=True)
        self.target.restore_topic()
        # In the same transaction: rows without their record could never be deleted, a record without rows is wrong.
        self.ledger.undo_run(self.number)
        self.session.connection.commit()
        validate(self.session, self.number, [*keys, *self.staging.not_validated()])
