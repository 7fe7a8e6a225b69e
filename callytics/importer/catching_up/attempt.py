"""One attempt of a sync: changes are found, decided on, and written with their records, all in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from callytics import __version__
from callytics.exceptions import SourceError
from callytics.importer.catching_up.changes import clash_on, take_found
from callytics.importer.catching_up.file import File
from callytics.importer.convert.chunks import Converter
from callytics.importer.convert.rows import RefusedRow, encode_row
from callytics.importer.outcome import Synced
from callytics.importer.plan.ids import multirange
from callytics.importer.session import Session
from callytics.importer.target.comparing.findings import same_json
from callytics.importer.target.comparing.found import MOST_RANGES, Found, MappedPair, Pair, Sink
from callytics.importer.target.shared import refused_rows
from callytics.importer.target.writing.heirs import hand_over, part
from callytics.importer.target.writing.stage import ForeignKey, ForeignKeysInTheWay
from callytics.importer.target.writing.staging import Staging, begin, refused_changes
from callytics.postgres.sql import folded

Compare = Callable[[Sink, str, Sequence[Pair]], list[Found]]


class Attempt:
    """The comparison of files with PostgreSQL and the changes, in one transaction of the session.

    ``pairs_of`` pairs a file's tables, in the attempt's transaction; ``compare`` hands what has changed of pairs to a
    sink, as of an exported snapshot of the database.
    """

    def __init__(
        self,
        session: Session,
        files: Sequence[File],
        pairs_of: Callable[[File], list[Pair]],
        compare: Compare,
        *,
        choice: str | None,
        dry_run: bool,
    ) -> None:
        self.session, self.files = session, files
        # Kept apart as functions: workers and plans stand above this module.
        self.pairs_of, self.compare = pairs_of, compare
        self.choice, self.dry_run = choice, dry_run
        self.ledger, self.target = session.ledger, session.target
        self.staging = Staging(session.connection)
        self.found: list[Found] = []
        # The files that tables belong to, by the number of a table's record.
        self.files_of: dict[int, File] = {}
        # Foreign keys that were deferred, or are not valid for another reason.
        self.keys: list[ForeignKey] = []

    def run(self, lock: bool) -> Synced:
        """Compare and apply. Commits, or rolls everything back if rows clash or nothing is to be written.

        ``lock`` keeps others from writing meanwhile, so that foreign keys can be deferred. Raises
        ``ForeignKeysInTheWay`` if that is needed, and ``Overtaken`` if the same rows were written to meanwhile.
        """
        outcome = Synced(dry_run=self.dry_run, choice=self.choice)
        moment = begin(self.session.connection, lock=lock)
        pairs: list[Pair] = []
        for file in self.files:
            own = self.pairs_of(file)
            self.files_of |= {pair.record.id: file for pair in own}
            pairs += own
        self.found = self.compare(self.staging, moment, pairs)
        for file in self.files:
            file.check_base()
        self.staging.prepare()
        outcome.notes += hand_over(self.session.connection, self.staging.stages.values(), self.found)
        # Before the clashes are counted: a reference that would lead to a stranger's row is one of them.
        orphans = self._check_references()
        if orphans and not lock:
            # A foreign key refuses rows without a parent: it has to be deferred, which takes the lock.
            raise ForeignKeysInTheWay
        take_found(outcome, self.found)
        if outcome.unsolvable or (outcome.clashed and not self.choice):
            outcome.refuse()
        if outcome.refused or self.dry_run:
            self.session.connection.rollback()
            return outcome
        self._write(lock, outcome)
        # Again: what PostgreSQL refused while it was applied has changed the figures.
        take_found(outcome, self.found)
        return outcome

    def _check_references(self) -> bool:
        """Record references that would lead to a stranger's row as clashes; returns whether rows lose their parent."""
        for file in self.files:
            own = self._of(file)
            for child in own:
                if isinstance(child.pair, MappedPair):
                    self._check_own(child, child.pair, own)
        children = self.staging.remaining_children()
        for row in children:
            if row.run is None:
                # No choice settles it: the key can't lead to a row that is gone, and this row is not ours to delete.
                clash_on(self.found, row.table, row.key, row.parent, final=True)
        return bool(children)

    def _of(self, file: File) -> list[Found]:
        """Return what was found of a file's tables."""
        return [one for one in self.found if self.files_of[one.pair.record.id] is file]

    def _check_own(self, found: Found, child: MappedPair, own: Sequence[Found]) -> None:
        for column, table in child.references.items():
            for one in own:
                parent = one.pair
                if not isinstance(parent, MappedPair) or not parent.gives_ids:
                    continue
                if table in (folded(parent.record.source_table), parent.record.source_table):
                    ids = self._strangers(parent, self.staging.referred(column, child))
                    for key, number in self.staging.mistaken_references(column, child, parent, ids):
                        found.clash(
                            child.record.target_table,
                            key,
                            (column,),
                            f"refers to row {number} of {parent.record.target_table}, which SQLite does not have and "
                            "which is somebody else's in PostgreSQL",
                            final=True,
                        )

    def _strangers(self, parent: MappedPair, ids: Collection[int]) -> Collection[int]:
        """Return which of these ids are none of the rows that the file gives to a table."""
        if not parent.theirs or not ids:
            return ids
        offset, file = parent.record.id_offset, self.files_of[parent.record.id]
        numbers = {number - offset for number in ids}
        # Not in the pair's own source, which may hold the rows that differ alone.
        absent = file.now.absent_ids(parent.theirs.table_mapping, numbers)
        if parent.in_order:
            rejected = self.ledger.rejected_rows(file.record.id)
            absent |= numbers.intersection(rejected.get(parent.record.source_table, ()))
        return {number + offset for number in absent}

    def _listed(self, one: Found) -> str | None:
        """Return the ids of a table as they go on record: all that were found, or those before and what changed."""
        if one.before is None:
            return multirange(one.ranges) if len(one.ranges) <= MOST_RANGES else None
        if max(len(one.ranges), len(one.before.ranges)) > MOST_RANGES:
            return None
        ids = self.ledger.ids_without(one.pair.record.id, multirange(one.before.ranges), multirange(one.ranges))
        return ids if ids is None or ids.count("[") <= MOST_RANGES else None

    def _write(self, lock: bool, outcome: Synced) -> None:
        """Apply everything, with its records, and commit."""
        self.session.progress("apply", 0, 1)
        deferred = self.staging.apply(defer=lock)
        self._reject_refused()
        outcome.notes += part(self.session.connection, self.found)
        for one in self.found:
            self._record(one)
        for file in self.files:
            self.record_file(file)
        mapped = [one.pair for one in self.found if isinstance(one.pair, MappedPair)]
        for pair in mapped:
            if pair.theirs and pair.gives_ids:
                highest = pair.theirs.source.sequence(pair.theirs.table_mapping.table) + pair.record.id_offset
                self.target.set_sequence(pair.record.target_table, highest)
        self.target.restore_topic()
        self.keys = [*deferred, *self.staging.not_validated({pair.record.target_table for pair in mapped})]
        self.session.connection.commit()

    def _reject_refused(self) -> None:
        """Record rows that PostgreSQL refused as rejected, and correct the figures that counted them as written."""
        for one in self.found:
            # Rows that were refused before are tried again; ``take_back`` subtracts those that still are.
            one.inserted += one.retried
        for one, pair, refused in refused_changes(self.staging, self.found):
            with Converter(pair.conversion) as converter:
                chunk = converter.chunk((refused.rowid, refused.rowid))
                converted = [*converter.as_rows(chunk.clean), *chunk.rows]
                (row,) = refused_rows(
                    self.session.connection,
                    pair.conversion,
                    [(one_row, refused.refusal) for one_row in converted],
                    converter.source_values,
                )
            one.take_back(chunk, was_there=refused.was_there, shared=row.shared is not None)
            self._reject(one, pair, row)

    def _reject(self, one: Found, pair: MappedPair, row: RefusedRow) -> None:
        table = pair.record.id
        # A row that was refused before, and is the same, keeps its record: the sync changed nothing.
        kept = self.ledger.kept(table, (row.rowid, row.rowid)).get(row.rowid)
        shared = row.shared.target_id if row.shared else None
        if kept and (kept.column, kept.shared) == (None, shared) and same_json(kept.row, encode_row(row.values)):
            return
        one.rejections += 1
        self.staging.reject(pair, [row.rowid], [row])

    def _record(self, one: Found) -> None:
        """Update the record of a table to what it is now."""
        record = one.pair.record
        if one.pair.theirs is None:
            self.ledger.forget_table(record.id)
            return
        if one.before is not None:
            self._record_change(one, one.before)
            return
        self.ledger.update_table(record, self._listed(one) if isinstance(one.pair, MappedPair) else None)
        if one.changes or one.pair.base is None:
            row_range = (one.rowids[0], one.rowids[-1]) if one.rowids else None
            self.ledger.replace_chunks(record.id, row_range, figures(one))
            self.ledger.forget_normalisations(record.id)
            self._add_normalisations(one)

    def _record_change(self, one: Found, before: Found) -> None:
        """Update the record of a table of which only the rows that differ were looked at."""
        record = one.pair.record
        # Rejected rows are looked at whether they differ or not.
        # New rows of what was erased are left out, and yet the file has them.
        same = (figures(one), one.ranges) == (figures(before), before.ranges)
        if not one.changes and same and not record.erased:
            return
        self.ledger.update_table(record, self._listed(one))
        first, last, loaded = self.ledger.extent(record.id)
        counted = zip(loaded, figures(one), figures(before), strict=True)
        copied, normalised, rejected, shared = (was + now - then for was, now, then in counted)
        numbers = [number for number in (first, last, *one.rowids) if number is not None]
        row_range = (min(numbers), max(numbers)) if record.source_rows else None
        self.ledger.replace_chunks(record.id, row_range, (copied, normalised, rejected, shared))
        one.normalisations.subtract(before.normalisations)
        self._add_normalisations(one, before)
        self.ledger.forget_past_normalisations(record.id)

    def _add_normalisations(self, *found: Found) -> None:
        one = found[0]
        for (column, name), count in one.normalisations.items():
            if count:
                example = next(other.examples[column, name] for other in found if (column, name) in other.examples)
                self.ledger.add_normalisation(one.pair.record.id, column, name, count, example)

    def record_file(self, file: File) -> None:
        """Record what a file is now, in the transaction of the changes."""
        mine = self._of(file)
        # A sync without changes leaves the records, and with them the snapshot that the next sync starts from, alone.
        if not file.changed and not any(one.changes for one in mine):
            return
        # Content identifies an import: of two files with the same one, only one could be found again.
        if (known := self.ledger.source_by_sha256(file.snapshot.sha256)) and known.id != file.record.id:
            raise SourceError(f"{file.record.path} has the same content as {known.path} of import {known.run}")
        self.ledger.add_sync(
            file.record,
            file.snapshot,
            version=__version__,
            kept=self.choice if any(one.clashed for one in mine) else None,
            inserted=sum(one.inserted for one in mine),
            updated=sum(one.updated for one in mine),
            deleted=sum(one.deleted for one in mine),
            conflicts=sum(one.clashed for one in mine),
        )
        self.ledger.update_source(file.record.id, file.snapshot)
        self.ledger.forget_verdict(file.record.id)


def figures(found: Found) -> tuple[int, int, int, int]:
    """Return how many rows were copied, normalised, rejected and shared."""
    return found.copied, found.normalised, found.rejected, found.shared
