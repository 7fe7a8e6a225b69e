"""Sync: bring over what the application has written to SQLite since the import, by differences.

To read an import's times in other zones is a sync, too: of the same content, in which columns mean something else.

snapshot → compare (what was imported, what SQLite holds now, what PostgreSQL holds) → apply → verify

Everything is compared before anything is written, and everything is written in one transaction: a sync is done as a
whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path

from callytics import __version__
from callytics.exceptions import SourceError, TargetError
from callytics.importer.convert.chunks import Converter
from callytics.importer.convert.rows import RefusedRow, encode_row
from callytics.importer.convert.zones import Reading
from callytics.importer.difference import (
    Comparison,
    begin,
    clash_on,
    conversion_of,
    multirange,
    pair_of,
    take_found,
    until_written,
    validate,
)
from callytics.importer.imported import copies_of, records_of, snapshots_of, targets_of
from callytics.importer.options import Options, Progress, zone_named
from callytics.importer.outcome import Synced
from callytics.importer.plan.ids import Offsets, References, id_offsets
from callytics.importer.plan.work import table_records
from callytics.importer.plan.zones import (
    AS_DECLARED,
    Choice,
    chosen_readings,
    declared_readings,
    time_names,
)
from callytics.importer.records.entries import SourceRecord, TableRecord
from callytics.importer.session import Session, base_source, no_new_folders, open_session, unfinished
from callytics.importer.source.mapping import TableMapping
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot, refuse_changed
from callytics.importer.target.findings import Clash, Difference, same_json
from callytics.importer.target.found import MOST_RANGES, Found, MappedPair, Nowhere, Pair
from callytics.importer.target.heirs import hand_over, part
from callytics.importer.target.shared import refused_rows
from callytics.importer.target.staging import ForeignKeysInTheWay, Staging, refused_changes
from callytics.postgres.sql import folded
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
        records = records_of(session, files) if of is None else copies_of(session, files, of)
        with snapshots_of(session, records) as taken:
            session.refuse_unfinished(targets_of(session, taken))
            return until_written(session, lambda lock: Sync(session, choice, dry_run).run(taken, lock))


def _readings(old: TableRecord | None, wanted: TableRecord) -> dict[str, str] | None:
    """Return how a table's times are read: as they were, and a column that it has gained as it is declared."""
    return wanted.readings and {**wanted.readings, **(old.readings or {} if old else {})}


class Sync:
    """One attempt: the comparison of files with PostgreSQL and the changes, in one transaction of the session."""

    # Whether rows that only PostgreSQL has changed are let be, rather than found to clash.
    lenient = False

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
        files = [File(record, snapshot, self.pairs_of(record, snapshot)) for record, snapshot in taken]
        pairs = [pair for file in files for pair in file.pairs]
        comparison = Comparison(self.staging, snapshot=moment, choice=self.choice, lenient=self.lenient)
        found = comparison.of(self.session, pairs)
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

    def pairs_of(self, record: SourceRecord, snapshot: Snapshot) -> list[Pair]:
        """Pair the tables of a file as it was with those that it has now; new ones are recorded.

        A table is recognised by its name and target: its mapping may be another one since it gained columns.
        """
        base, theirs = base_source(self.session, record), self._source(record, snapshot)
        zone = zone_named(record.timezone)
        known = {(folded(row.source_table), row.target_table): row for row in self.ledger.tables(record.id)}
        references = self._references(record, theirs, known.values())
        # What was imported before columns were told apart goes on with one zone for all.
        told_apart = not any(row.mapping and row.readings is None for row in known.values())
        pairs: list[Pair] = []
        for wanted in table_records(theirs):
            old = known.pop((folded(wanted.source_table), wanted.target_table), None)
            wanted = replace(wanted, readings=_readings(old, wanted) if told_apart else None)
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
            self.record_file(file, found)
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

    def record_file(self, file: File, found: Sequence[Found]) -> None:
        """Record what a file is now, in the transaction of the changes."""
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
        return Comparison(Nowhere(), retry=False, word="verify", lenient=self.lenient).of(self.session, pairs, ranges)


@dataclass(frozen=True)
class Wanted:
    """How the times of an import are to be read from now on.

    ``zone`` is that of local times (None: as it is). ``declared`` reads all columns as their tables declare them, and
    ``columns`` names the ones that are UTC or local whatever these say. ``choice`` is that of ``sync_files``.
    """

    zone: tzinfo | None = None
    declared: bool = False
    columns: Choice = AS_DECLARED
    choice: str | None = None

    def readings(self, mapped: TableMapping, before: Mapping[str, str] | None) -> dict[str, str] | None:
        """Return how the columns of a table are to be read; None where one zone goes on to be that of all."""
        if before is None and not (self.declared or self.columns.is_made):
            return None
        declared = declared_readings(mapped)
        known = declared if self.declared else dict(before or dict.fromkeys(declared, Reading.LOCAL))
        return chosen_readings(mapped, known, self.columns)


def change_timezone(
    settings: Settings, run: int, wanted: Wanted, options: Options, progress: Progress, *, dry_run: bool = False
) -> Synced:
    """Read the times of an import anew and write to PostgreSQL what that changes, in one transaction.

    Rows that were changed in PostgreSQL since and would change are clashes: nothing is written then, and the outcome
    lists them, unless ``wanted.choice`` decides. Other rows that were changed there are let be. The records follow, so
    that verify, sync, undo and a repeated import agree. ``dry_run`` writes nothing. Killed meanwhile, nothing has
    happened, and the same call does it.

    Raises ``TargetError`` if there is no such run, or it is unfinished or undone; ``SourceError`` if a snapshot is gone
    or a named column is none of the import's.
    """
    with open_session(settings, options, progress) as session:
        records = _records_of_run(session, run)
        wanted.columns.check(name for one in records for name in time_names(base_source(session, one)))
        session.refuse_unfinished(session.ledger.targets(run))
        taken = [(record, _kept_snapshot(record)) for record in records]
        return until_written(session, lambda lock: ZoneChange(session, wanted, dry_run).run(taken, lock))


def _records_of_run(session: Session, run: int) -> list[SourceRecord]:
    records = session.ledger.sources(run)
    if not records:
        raise TargetError(f"there is no import {run}: 'callytics report' names those that there are")
    if records[0].status == "running":
        raise unfinished(run, [record.path for record in records], "can't be read in another zone yet")
    if records[0].status == "undone":
        raise TargetError(f"import {run} was undone: import its files again with the right --timezone")
    return records


def _kept_snapshot(record: SourceRecord) -> Snapshot:
    return Snapshot(Path(record.path), Path(record.snapshot_path), record.sha256, record.size_bytes)


class ZoneChange(Sync):
    """One attempt: the comparison of an import with itself in other zones, and its changes, in one transaction."""

    lenient = True

    def __init__(self, session: Session, wanted: Wanted, dry_run: bool) -> None:
        super().__init__(session, wanted.choice, dry_run)
        self.wanted = wanted
        # By TABLE.COLUMN: the reading before and after.
        self.changes: dict[str, list[str]] = {}
        self._recorded_runs: set[int] = set()

    def pairs_of(self, record: SourceRecord, snapshot: Snapshot) -> list[Pair]:
        """Pair each table of a file with itself, as it was read and as it is to be read."""
        source = base_source(self.session, record)
        return [self._pair(record, row, source) for row in self.ledger.tables(record.id)]

    def _pair(self, record: SourceRecord, row: TableRecord, source: Source) -> Pair:
        zone = zone_named(record.timezone)
        pair = pair_of(row, source, source, self.target, zone)
        if not isinstance(pair, MappedPair):
            return pair
        readings = self.wanted.readings(pair.conversion.table_mapping, row.readings)
        self._note(row, readings)
        again = replace(row, readings=readings)
        columns = pair.conversion.columns
        return MappedPair(again, pair.base, conversion_of(source, again, columns, self.wanted.zone or zone))

    def _note(self, row: TableRecord, readings: Mapping[str, str] | None) -> None:
        for column, after in (readings or {}).items():
            before = (row.readings or {}).get(column, Reading.LOCAL)
            if before != after:
                self.changes[f"{row.source_table}.{column}"] = [before, after]

    def record_file(self, file: File, found: Sequence[Found]) -> None:
        """Record the zones of the import, once for all its files."""
        run = file.record.run
        if run in self._recorded_runs:
            return
        self._recorded_runs.add(run)
        self.ledger.change_zone(
            run,
            str(self.wanted.zone or file.record.timezone),
            self.changes,
            version=__version__,
            changed=sum(one.changes for one in found),
            kept=self.choice if any(one.clashed for one in found) else None,
        )
