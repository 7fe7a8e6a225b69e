"""Sync: bring over what the application has written to SQLite since the import, by differences.

snapshot → compare (what was imported, what SQLite holds now, what PostgreSQL holds) → apply → verify

Everything is compared before anything is written, and everything is written in one transaction: a sync is done as a
whole or not at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from callytics import __version__
from callytics.exceptions import SourceError
from callytics.importer.convert.chunks import Converter
from callytics.importer.convert.rows import RefusedRow, encode_row
from callytics.importer.difference import (
    Comparison,
    base_source,
    begin,
    clash_on,
    multirange,
    pair_of,
    take_found,
    until_written,
    validate,
)
from callytics.importer.options import Options, Progress, zone_named
from callytics.importer.outcome import Synced
from callytics.importer.plan.ids import Offsets, References, id_offsets
from callytics.importer.plan.work import table_records
from callytics.importer.records.entries import SourceRecord, TableRecord
from callytics.importer.session import Session, borrowed_snapshot, no_new_folders, open_session, unfinished
from callytics.importer.source.overlap import overlap
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot, refuse_changed, take_snapshot
from callytics.importer.target.findings import Clash, Difference, same_json
from callytics.importer.target.found import MOST_RANGES, Found, MappedPair, Nowhere, Pair
from callytics.importer.target.heirs import hand_over, part
from callytics.importer.target.shared import refused_rows
from callytics.importer.target.staging import ForeignKeysInTheWay, Staging, refused_changes
from callytics.postgres.sql import folded
from callytics.postgres.text import shell_word
from callytics.settings import Settings


@dataclass(frozen=True)
class File:
    """A file of a sync: its record, its new snapshot, and its tables before and now."""

    record: SourceRecord
    snapshot: Snapshot
    pairs: list[Pair]

    @property
    def mapped(self) -> list[MappedPair]:
        """Return the tables that go to tables of the schema."""
        return [pair for pair in self.pairs if isinstance(pair, MappedPair)]

    @property
    def changed(self) -> bool:
        """Return whether the file's content is another than at its import or latest sync."""
        return self.snapshot.sha256 != self.record.sha256


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

    Rows that were changed in PostgreSQL since the import are clashes: with ``choice`` None nothing is written then and
    the outcome lists them, "ours" keeps these rows, and "theirs" overwrites them. Rows that the application added are
    left alone. ``dry_run`` writes nothing in any case. What was written is compared again, value by value. With ``of``,
    the number of an import, the files are later copies of that import's files, whatever their names.

    Raises ``SourceError`` if a file was never imported, is no copy, or a snapshot is gone, ``TargetError`` if an import
    is unfinished or others keep writing to the same rows. PostgreSQL is then as it was.
    """
    with open_session(settings, options, progress) as session, no_new_folders(options.snapshots):
        records = _records(session, files) if of is None else _records_of(session, files, of)
        with _snapshots(session, records) as taken:
            session.refuse_unfinished(_targets(session, taken))
            return until_written(session, lambda lock: Sync(session, choice, dry_run).run(taken, lock))


def _targets(session: Session, taken: Sequence[tuple[SourceRecord, Snapshot]]) -> set[str]:
    """Return the tables that files go to, as they were and as they are."""
    sources = [Source(snapshot.path, record.path, session.options.limits) for record, snapshot in taken]
    before = [table for record, _ in taken for table in session.ledger.targets(record.run)]
    return set(before).union(*(source.targets for source in sources))


def _records(session: Session, files: Sequence[Path]) -> dict[Path, SourceRecord]:
    """Return the record of each file; raises ``SourceError`` if one was never imported or is named twice. Commits."""
    ledger = session.ledger
    found: dict[Path, SourceRecord] = {}
    for file in files:
        path = Path(os.path.realpath(file))
        record = ledger.source_of_path(path)
        if record is None:
            known = ", ".join(ledger.imported_paths()) or "none"
            raise SourceError(
                f"{path} was never imported here (imported: {known}): run 'callytics import {shell_word(file)}'"
            )
        if record in found.values():
            raise SourceError(f"{file} is named twice: name it once")
        if record.status == "running":
            raise unfinished(record.run, [record.path], f"has {path} among its files")
        found[path] = record
    session.connection.commit()
    return found


def _records_of(session: Session, files: Sequence[Path], run: int) -> dict[Path, SourceRecord]:
    """Return the record of the import's file that each file is a copy of; ``SourceError`` if it is of none. Commits."""
    own = [record for record in session.ledger.imported_sources() if record.run == run]
    if not own:
        raise SourceError(f"import {run} holds no files: 'callytics report' lists the imports")
    if own[0].status == "running":
        raise unfinished(run, [record.path for record in own], "has the files that these are copies of")
    bases = [(record, base_source(session, record)) for record in own]
    found: dict[Path, SourceRecord] = {}
    for file in files:
        path = Path(os.path.realpath(file))
        with borrowed_snapshot(file, session.options) as snapshot:
            copy = Source(snapshot.path, str(file), session.options.limits)
            record = next((record for record, base in bases if overlap(copy, base).is_copy), None)
        if record is None:
            listed = ", ".join(one.path for one in own)
            raise SourceError(f"{file} is no copy of a file of import {run} ({listed}): it holds other calls")
        if record in found.values():
            raise SourceError(f"two files are copies of {record.path}: name the later one")
        found[path] = record
    session.connection.commit()
    return found


@contextmanager
def _snapshots(session: Session, records: dict[Path, SourceRecord]) -> Iterator[list[tuple[SourceRecord, Snapshot]]]:
    """Yield a snapshot of each file, and afterwards delete those that no record names.

    A file whose rows refer to another file is taken first. The application may write meanwhile, and a recording is
    older than the session that refers to it: so the later snapshot has every recording that the sessions need.
    """
    folder = session.options.snapshots
    bases = {path: base_source(session, record) for path, record in records.items()}
    before = set(folder.absolute().glob("*.sqlite"))
    taken: list[tuple[SourceRecord, Snapshot]] = []
    try:
        for path in sorted(records, key=lambda path: not _references_other_file(bases[path])):
            taken.append((records[path], take_snapshot(path, folder, session.options.notice)))
        yield list(reversed(taken))
    finally:
        outdated = {Path(record.snapshot_path) for record in records.values()}
        session.remove_unrecorded(({snapshot.path for _, snapshot in taken} - before) | outdated)


def _references_other_file(source: Source) -> bool:
    names = {folded(table.name) for table in source.tables}
    mapped = [one for own in source.table_mappings.values() for one in own]
    return any(folded(parent) not in names for one in mapped for parent in one.mapping.references.values())


class Sync:
    """One attempt: the comparison of files with PostgreSQL and the changes, in one transaction of the session."""

    def __init__(self, session: Session, choice: str | None, dry_run: bool) -> None:
        self.session, self.choice, self.dry_run = session, choice, dry_run
        self.ledger, self.target = session.ledger, session.target
        self.staging = Staging(session.connection)
        self.began = time.monotonic()

    def run(self, taken: Sequence[tuple[SourceRecord, Snapshot]], lock: bool) -> Synced:
        """Compare, apply and verify. Commits, or rolls everything back if rows clash or nothing is to be written.

        ``lock`` keeps others from writing meanwhile, so that foreign keys can be deferred. Raises
        ``ForeignKeysInTheWay`` if that is needed, and ``Overtaken`` if the same rows were written to meanwhile.
        """
        outcome = Synced(dry_run=self.dry_run, choice=self.choice)
        moment = begin(self.session.connection, lock=lock)
        files = [File(record, snapshot, self._pairs(record, snapshot)) for record, snapshot in taken]
        pairs = [pair for file in files for pair in file.pairs]
        found = Comparison(self.staging, snapshot=moment, choice=self.choice).of(self.session, pairs)
        self.staging.prepare()
        outcome.notes += hand_over(self.staging, found)
        # Before the clashes are counted: a reference that would lead to a stranger's row is one of them.
        orphans = self._check_references(files, found)
        if orphans and not lock:
            # A foreign key refuses rows without a parent: it has to be deferred, which takes the lock.
            raise ForeignKeysInTheWay
        take_found(outcome, found)
        if outcome.unsolvable or (outcome.clashed and not self.choice):
            outcome.refuse()
        if outcome.refused or self.dry_run:
            self.session.connection.rollback()
            return outcome
        self._write(files, found, lock, outcome)
        self._verify(outcome, found)
        # Again: what PostgreSQL refused while it was applied has changed the figures.
        take_found(outcome, found)
        for run in sorted({file.record.run for file in files}):
            self.session.conclude(outcome, run)
        return outcome

    def _pairs(self, record: SourceRecord, snapshot: Snapshot) -> list[Pair]:
        """Pair the tables of a file as it was with those that it has now; new ones are recorded.

        A table is recognised by its name and target: its mapping may be another one since it gained columns.
        """
        base, theirs = base_source(self.session, record), self._source(record, snapshot)
        zone = zone_named(record.timezone)
        known = {(folded(row.source_table), row.target_table): row for row in self.ledger.tables(record.id)}
        references = self._references(record, theirs, known.values())
        pairs: list[Pair] = []
        for wanted in table_records(theirs):
            old = known.pop((folded(wanted.source_table), wanted.target_table), None)
            row = self._recorded(record, old, wanted, theirs, references)
            pairs.append(pair_of(row, base if old else None, theirs, self.target, zone))
        pairs += [pair_of(row, base, None, self.target, zone) for row in known.values()]
        return pairs

    def _source(self, record: SourceRecord, snapshot: Snapshot) -> Source:
        source = Source(snapshot.path, record.path, self.session.options.limits)
        source.refuse_empty()
        return source

    def _references(self, record: SourceRecord, source: Source, rows: Iterable[TableRecord]) -> References:
        """Return the offsets for references of new tables; known id spaces keep theirs, or their rows would move."""
        known: Offsets = {(source.path, folded(row.source_table)): row.id_offset for row in rows if row.mapping}
        mapped = {folded(table.name) for table in source.tables if source.table_mappings[table.name]}
        offsets = known if {name for _, name in known} >= mapped else id_offsets([source], self.target, known)
        return References([source], offsets, self.ledger, [record.run])

    def _recorded(
        self, record: SourceRecord, old: TableRecord | None, wanted: TableRecord, source: Source, references: References
    ) -> TableRecord:
        """Return the record of a table as it is now, with the number and offsets that it has, or a new record."""
        if old:
            return replace(wanted, id=old.id, id_offset=old.id_offset, offsets=old.offsets, loaded_at=old.loaded_at)
        return self.ledger.add_table(record.id, references.moved(source, wanted), loaded=True)

    def _check_references(self, files: Sequence[File], found: Sequence[Found]) -> bool:
        """Record references that would lead to a stranger's row as clashes; returns whether rows lose their parent."""
        by_table = {one.pair.record.id: one for one in found}
        for file in files:
            for child in file.mapped:
                self._check_own(file, child, by_table)
        children = self.staging.remaining_children()
        for row in children:
            if row.run is None:
                # No choice settles it: the key can't lead to a row that is gone, and this row is not ours to delete.
                clash_on(found, row, final=True)
        return bool(children)

    def _check_own(self, file: File, child: MappedPair, by_table: dict[int, Found]) -> None:
        for column, table in child.references.items():
            for parent in file.mapped:
                if parent.gives_ids and table in (folded(parent.record.source_table), parent.record.source_table):
                    ids = multirange(by_table[parent.record.id].ranges)
                    for key, number in self.staging.mistaken_references(column, child, parent, ids):
                        by_table[child.record.id].clash(
                            child.record.target_table,
                            key,
                            (column,),
                            f"refers to row {number} of {parent.record.target_table}, which SQLite does not have and "
                            "which is somebody else's in PostgreSQL",
                            final=True,
                        )

    def _write(self, files: Sequence[File], found: Sequence[Found], lock: bool, outcome: Synced) -> None:
        """Apply everything, with its records, and commit; then validate the deferred foreign keys."""
        self.session.progress("apply", 0, 1)
        keys = self.staging.apply(defer=lock)
        self._reject_refused(found)
        outcome.notes += part(self.staging, found)
        for one in found:
            self._record(one)
        for file in files:
            self._record_file(file, found)
        mapped = [pair for file in files for pair in file.mapped]
        for pair in mapped:
            if pair.theirs and pair.gives_ids:
                highest = pair.theirs.source.sequence(pair.theirs.table_mapping.table) + pair.record.id_offset
                self.target.set_sequence(pair.record.target_table, highest)
        self.target.restore_topic()
        for file in files:
            refuse_changed(file.snapshot)
        self.session.connection.commit()
        targets = {pair.record.target_table for pair in mapped}
        validate(self.session, files[0].record.run, [*keys, *self.staging.not_validated(targets)])

    def _reject_refused(self, found: Sequence[Found]) -> None:
        """Record rows that PostgreSQL refused as rejected, and correct the figures that counted them as written."""
        for one in found:
            # Rows that were refused before are tried again; ``take_back`` subtracts those that still are.
            one.inserted += one.retried
        for one, pair, refused in refused_changes(self.staging, found):
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
        exact = len(one.ranges) <= MOST_RANGES and isinstance(one.pair, MappedPair)
        self.ledger.update_table(record, multirange(one.ranges) if exact else None)
        if one.changes or one.pair.base is None:
            row_range = (one.rowids[0], one.rowids[-1]) if one.rowids else None
            self.ledger.replace_chunks(record.id, row_range, (one.copied, one.normalised, one.rejected, one.shared))
            for (column, name), count in one.normalisations.items():
                if count:
                    self.ledger.add_normalisation(record.id, column, name, count, one.examples[column, name])

    def _record_file(self, file: File, found: Sequence[Found]) -> None:
        own = {pair.record.id for pair in file.pairs}
        mine = [one for one in found if one.pair.record.id in own]
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

    def _verify(self, outcome: Synced, found: Sequence[Found]) -> None:
        """Compare every row range in which something was written again, value by value, with what is committed.

        Rows outside these ranges were found equal by the comparison that the sync began with.
        """
        todo = [one for one in found if one.pair.theirs]
        again = {one.pair.record.id: one for one in self._compare_again([one for one in todo if one.changed])}
        for one in todo:
            record, checked = one.pair.record, again.get(one.pair.record.id)
            # Rows that "ours" left as they are still differ, as the user wants it.
            left = one.clashed if self.choice == "ours" else 0
            different = max(0, checked.changes + checked.clashed - left) if checked else 0
            if checked and different:
                outcome.differences += [
                    Difference(clash.table, clash.key, ", ".join(clash.columns) or None, clash.finding)
                    for clash in checked.clashes or [Clash(record.target_table, 0, (), "is not what SQLite holds")]
                ]
            self.ledger.verified_table(record.id, one.rows, different, self.began)
        self.session.connection.commit()

    def _compare_again(self, found: Sequence[Found]) -> list[Found]:
        pairs = [one.pair.written() for one in found]
        ranges = [[(theirs, theirs) for theirs, _ in one.changed] for one in found]
        return Comparison(Nowhere(), retry=False, word="verify").of(self.session, pairs, ranges)
