"""Undo: take one import back as a whole; everything else stays as it is.

Which rows are the import's is told by its snapshots. A row that was changed in PostgreSQL since, or one that was added
there and refers to the import's, keeps the import from being undone until the user has decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg2.extensions import connection as Connection

from callytics.cli.interrupt import interruptible_connection
from callytics.exceptions import TargetError
from callytics.importer.import_ import _failures, _zone
from callytics.importer.plan.workers import side_by_side
from callytics.importer.records.entries import SourceRecord
from callytics.importer.records.ledger import Ledger
from callytics.importer.source.reader import Source
from callytics.importer.sync import (
    Synced,
    base_side,
    base_snapshot,
    begin,
    changes_lines,
    clash_lines,
    clash_on,
    counted,
    ready,
    until_written,
    validate,
)
from callytics.importer.target.catalogue import Target
from callytics.importer.target.compare import Comparer, Found, Pair
from callytics.importer.target.load import Progress
from callytics.importer.target.staging import Staging
from callytics.settings import Settings


def undo_import(
    settings: Settings, run: int, progress: Progress, *, force: bool = False, dry_run: bool = False, jobs: int = 2
) -> Synced:
    """Delete every row that an import brought, what it kept aside included, in one transaction.

    Refuses, with the rows listed in the outcome, where some were changed in PostgreSQL since or are referred to by
    rows that were added there, unless `force` gives those up, too. Ids are not given again. That there was such an
    import stays on record; the same files can be imported again. Raises `CallyticsError` when refused or failed.
    """
    with _failures(settings), interruptible_connection(settings) as connection:
        ready(connection)
        check_run(Ledger(connection), run)
        # Locked from the start: keys that step aside spare a question for each deleted row and partition.
        return until_written(
            connection,
            lambda lock: Undo(settings, connection, run, progress, force, dry_run).run(jobs, lock),
            lock=not dry_run,
        )


def check_run(ledger: Ledger, run: int) -> None:
    """Refuse a run that is not there to be undone."""
    status = ledger.run_status(run)
    if status is None:
        raise TargetError(f"there is no import {run}: 'callytics report' names those that there are")
    if status == "undone":
        raise TargetError(f"import {run} was undone already: nothing is left of it")
    ledger.connection.commit()


class Undo:
    """One comparison of an import with PostgreSQL, and its removal, in one transaction of its connection."""

    def __init__(
        self, settings: Settings, connection: Connection, number: int, progress: Progress, force: bool, dry_run: bool
    ) -> None:
        self.settings, self.connection, self.number, self.progress = settings, connection, number, progress
        self.force, self.dry_run = force, dry_run
        self.ledger, self.target, self.staging = Ledger(connection), Target(connection), Staging(connection)

    def run(self, jobs: int, lock: bool) -> Synced:
        """Compare and delete; everything is rolled back where rows clash or nothing is to be written."""
        outcome = Synced(dry_run=self.dry_run, choice="force" if self.force else None, runs=[self.number])
        moment = begin(self.connection, lock=lock)
        found = self._compare(moment, jobs)
        self.staging.prepare()
        self._check_children(found)
        outcome.add_found(found)
        if outcome.unsolvable or (outcome.clashed and not self.force):
            outcome.refuse()
        if outcome.refused or self.dry_run:
            self.connection.rollback()
            return outcome
        self._delete()
        return outcome

    def _compare(self, moment: str, jobs: int) -> list[Found]:
        choice = "theirs" if self.force else None
        return side_by_side(
            lambda watched: Comparer(self.settings, self.staging, watched, snapshot=moment, choice=choice),
            lambda comparer, pair: comparer.compare(pair),
            [pair for record in self.ledger.sources(self.number) for pair in self._pairs(record)],
            jobs,
            self.progress,
        )

    def _pairs(self, record: SourceRecord) -> Iterator[Pair]:
        base, zone = Source(base_snapshot(record), record.path), _zone(record.timezone)
        for row in self.ledger.tables(record.id):
            yield Pair(row, base_side(base, row, self.target, zone), None)

    def _check_children(self, found: Sequence[Found]) -> None:
        """Find rows that refer to the import's: another import's are refused, the application's may be given up."""
        children = self.staging.remaining_children()
        for other in sorted({row.run for row in children if row.run}):
            raise TargetError(
                f"rows of import {other} refer to rows of import {self.number}: undo that one first "
                f"('callytics undo {other}')"
            )
        for row in children:
            clash_on(found, row, final=False)
        if self.force and children:
            self.staging.add_children()
            self._refuse_others()

    def _refuse_others(self) -> None:
        """What the application added may itself be referred to by another import's rows."""
        for row in self.staging.remaining_children():
            raise TargetError(
                f"row {row.key} of {row.table}, which import {row.run} brought, refers to a row that was added in "
                "PostgreSQL and would go: undo that import first"
            )

    def _delete(self) -> None:
        self.progress(f"undo import {self.number}", 0, 1)
        keys = self.staging.apply(aside=True)
        self.target.restore_topic()
        self.ledger.undo_run(self.number)
        self.connection.commit()
        validate(self.connection, self.number, [*keys, *self.staging.not_validated()])


def undo_lines(outcome: Synced) -> Iterator[str]:
    """Yield what `undo` prints."""
    (number,) = outcome.runs
    yield from changes_lines(outcome)
    yield from clash_lines(outcome)
    if outcome.refused:
        yield (
            f"Refused, nothing was changed: {counted(outcome.clashed, 'row', 'changed')} or added in PostgreSQL since "
            f"import {number}. --force deletes them, too."
        )
    elif outcome.dry_run:
        yield f"{counted(outcome.changed, 'row')} would be deleted."
    else:
        yield f"Import {number} is undone: {counted(outcome.changed, 'row', 'deleted')}. Its files may come in again."
