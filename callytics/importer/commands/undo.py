"""Undo: delete everything that one import brought, and leave everything else as it is.

The snapshots of the import tell which rows are its own. If one of these was changed in PostgreSQL since, or a row was
added there that refers to one, nothing is deleted until the user decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from callytics.exceptions import CallyticsError, TargetError
from callytics.importer.catching_up.changes import clash_on, take_found
from callytics.importer.catching_up.difference import Comparison, until_written, validate
from callytics.importer.catching_up.pairs import pair_of
from callytics.importer.options import Options, Progress, zone_named
from callytics.importer.outcome import Synced
from callytics.importer.records.entries import SourceRecord, TableRecord
from callytics.importer.session import Session, base_source, open_session
from callytics.importer.source.snapshot import is_snapshot
from callytics.importer.target.catalogue import PRIMARY_KEY
from callytics.importer.target.comparing.found import Found, Pair, UnmappedPair
from callytics.importer.target.writing.heirs import hand_over
from callytics.importer.target.writing.staging import Staging, begin
from callytics.postgres.text import quoted
from callytics.settings import Settings


def check_undo(settings: Settings, run: int) -> None:
    """Raise `CallyticsError` where the undoing of an import could not begin; what its rows say is told by undoing."""
    with open_session(settings, Options(), lambda *_: None, lock=False) as session:
        _check_run(session, run)


def undo_import(
    settings: Settings, run: int, options: Options, progress: Progress, *, force: bool = False, dry_run: bool = False
) -> Synced:
    """Delete every row that an import brought, including its rejected and unmapped rows, in one transaction.

    An unfinished import gets back what it has deferred, too, and its snapshot is removed while its file is there.
    Killed meanwhile, the same call goes on. Where its snapshot is gone, or this version does not know how its rows were
    made, the records tell which rows to delete, and the outcome notes that changes in PostgreSQL could not be told;
    of a finished import that is done with ``force``.

    A row that another import shares, such as a code that both have, stays as that one's own. If rows of the import were
    changed in PostgreSQL since, or rows added there refer to them, nothing is deleted and
    the outcome lists them, unless ``force`` gives them up. ``dry_run`` writes nothing in any case. Ids are not given
    out again. The run stays on record, and the same files can be imported again.

    Raises ``TargetError`` if there is no such run, another unfinished import holds its tables, or another import refers
    to the rows; ``SourceError`` if a snapshot of a finished import is gone and ``force`` is not given. No row is
    deleted then.
    """
    with open_session(settings, options, progress) as session:
        status = _check_run(session, run)
        if status == "running":
            return GivingUp(session, run, force, dry_run).outcome()
        # Locked from the start, so that foreign keys can be deferred: with them, every deleted row would be looked up
        # in every table and partition that refers to it.
        return until_written(session, lambda held: Undo(session, run, force, dry_run).run(held), lock=not dry_run)


def _check_run(session: Session, run: int) -> str:
    """Return a run's status; refuses one that does not exist, is undone, waits for another, or is archived. Commits."""
    status = session.ledger.run_status(run)
    if status is None:
        raise TargetError(f"there is no import {run}: 'callytics report' names those that there are")
    if status == "undone":
        raise TargetError(f"import {run} was undone already: nothing is left of it")
    session.refuse_unfinished(session.ledger.targets(run), besides=run)
    session.refuse_archived(run)
    return status


class Undo:
    """One attempt: the comparison of an import with PostgreSQL and its deletion, in one transaction of the session."""

    def __init__(self, session: Session, number: int, force: bool, dry_run: bool) -> None:
        self.session, self.number, self.force, self.dry_run = session, number, force, dry_run
        self.ledger, self.target = session.ledger, session.target
        self.staging = Staging(session.connection)
        self.notes: list[str] = []

    @property
    def by_records(self) -> bool:
        """Whether the records tell what to delete where a snapshot can't."""
        return self.force

    def run(self, lock: bool) -> Synced:
        """Compare and delete. Commits, or rolls everything back if rows clash or nothing is to be written."""
        outcome = Synced(dry_run=self.dry_run, choice="force" if self.force else None, runs=[self.number])
        found = self._compare(begin(self.session.connection, lock=lock))
        outcome.notes += self.notes
        self.staging.prepare()
        outcome.notes += hand_over(self.session.connection, self.staging.stages.values(), found)
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
        pairs, recorded = list[Pair](), list[Found]()
        for record in self.ledger.sources(self.number):
            try:
                pairs += list(self._pairs(record))
            except CallyticsError as error:
                if not self.by_records:
                    raise
                recorded += [self._recorded(table) for table in self.ledger.tables(record.id)]
                self.notes.append(f"by the records of the import alone, which tell no changes since: {error}")
        # To the comparison the file is empty now: what "theirs" means is that every row goes.
        comparison = Comparison(self.staging, snapshot=moment, choice="theirs" if self.force else None)
        return [*comparison.of(self.session, pairs), *recorded]

    def _pairs(self, record: SourceRecord) -> Iterator[Pair]:
        base, zone = base_source(self.session, record), zone_named(record.timezone)
        for row in self.ledger.tables(record.id):
            yield pair_of(row, base, None, self.target, zone)

    def _recorded(self, table: TableRecord) -> Found:
        """Stage what the records say that the import brought to a table."""
        found = Found(UnmappedPair(table, None, None))
        if table.mapping is None:
            _, found.deleted, _ = self.ledger.stored_counts(table.id)
        else:
            found.deleted = self.staging.delete_recorded(table)
        found.rows = found.deleted
        return found

    def _check_children(self, found: Sequence[Found]) -> None:
        """Find rows that refer to the import's: those of another import are refused, others are clashes."""
        children = self.staging.remaining_children()
        for other in sorted({row.run for row in children if row.run}):
            raise TargetError(
                f"rows of import {other} refer to rows of import {self.number}: undo that one first "
                f"({quoted('callytics undo', other)})"
            )
        for row in children:
            clash_on(found, row.table, row.key, row.parent, final=False)
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
        self._forget()
        self.session.connection.commit()
        validate(self.session, self.number, [*keys, *self.staging.not_validated()])

    def _forget(self) -> None:
        self.ledger.undo_run(self.number)


class GivingUp(Undo):
    """The undoing of an unfinished import, in steps of which each can be repeated.

    keys → rows, in one transaction → indexes and validation → snapshot and record

    The keys come first: the deletion looks for rows that refer to the import's, and finds them by foreign keys. Until
    the last step the run counts as unfinished, so that whatever ends this, it can be undone again, or imported.
    """

    def outcome(self) -> Synced:
        """Take the import back and return what was deleted. Commits, several times."""
        if not self.dry_run:
            self._restore_keys()
        outcome = until_written(self.session, self._attempt, lock=not self.dry_run)
        if not (outcome.refused or self.dry_run):
            self._restore_rest()
            self._remove_snapshots(outcome)
            self.ledger.undo_run(self.number)
            self.session.connection.commit()
        return outcome

    def _attempt(self, lock: bool) -> Synced:
        # Each with a staging of its own: the tables of the one before went with its transaction.
        return GivingUp(self.session, self.number, self.force, self.dry_run).run(lock)

    @property
    def by_records(self) -> bool:
        """True: nobody is to be stuck with an unfinished import."""
        return True

    def _restore_keys(self) -> None:
        for found in self.ledger.definitions_to_restore(self.number):
            if found.kind == "foreign key":
                self.target.declare_foreign_key(found.table, found.name, found.definition)
            elif found.definition.startswith(PRIMARY_KEY):
                self.target.restore_index(found.table, found.name, found.definition)
            else:
                continue
            self.ledger.restored(found.id)
            self.session.connection.commit()

    def _forget(self) -> None:
        self.ledger.forget_rows(self.number)

    def _restore_rest(self) -> None:
        for found in self.ledger.definitions_to_restore(self.number):
            self.session.progress(f"index {found.name}", 0, 1)
            self.target.restore_index(found.table, found.name, found.definition)
            self.ledger.restored(found.id)
            self.session.connection.commit()
        # From the catalogue, since an undoing that was killed does not know what it had declared.
        validate(self.session, self.number, self.staging.not_validated(self.ledger.targets(self.number)))

    def _remove_snapshots(self, outcome: Synced) -> None:
        """Remove the snapshots, but not what may be the last copy of a file, or another import's."""
        others = self.ledger.snapshots_besides(self.number)
        for record in self.ledger.sources(self.number):
            path = Path(record.snapshot_path)
            if record.snapshot_path in others or not is_snapshot(path, record.sha256):
                continue
            if Path(record.path).exists():
                path.unlink()
            else:
                outcome.notes.append(f"{record.path} is gone: its snapshot {path} is left")
