"""Sync: catch up with what the application has written to SQLite since the import, by differences.

snapshot → compare (what was imported, what SQLite holds now, what PostgreSQL holds) → apply → verify

Everything is compared before anything is written, and all is written in one transaction: a sync is there as a whole,
or nothing of it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from callytics import __version__
from callytics.cli.interrupt import interruptible_connection
from callytics.exceptions import SourceError, TargetError
from callytics.importer.convert.chunks import Conversion, Converter, RefusedRow
from callytics.importer.convert.values import encode_row
from callytics.importer.import_ import Options, Outcome, _failures, _no_new_folders, _zone
from callytics.importer.plan.ids import Families, Relatives, id_offsets
from callytics.importer.plan.workers import side_by_side
from callytics.importer.records.entries import SourceRecord, TableRecord
from callytics.importer.records.ledger import UNMAPPED, Ledger
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot, file_sha256, take_snapshot
from callytics.importer.target.catalogue import Target
from callytics.importer.target.compare import MOST_RANGES, Clash, Comparer, Found, Nowhere, Pair, Side
from callytics.importer.target.load import Progress
from callytics.importer.target.staging import (
    Child,
    ForeignKey,
    ForeignKeysInTheWay,
    Overtaken,
    Staging,
    lockable,
    refused_rows,
)
from callytics.importer.target.verify import Difference, same_json
from callytics.report import table_lines
from callytics.settings import Settings

ATTEMPTS = 3
OVERTAKEN = (
    "rows were written in PostgreSQL again and again while they were compared: stop what writes there, and run the "
    "same command again"
)


@dataclass
class Synced(Outcome):
    """What became of a sync or an undo, besides what an `Outcome` has."""

    dry_run: bool = False
    refused: bool = False
    """True where nothing was written because of clashes."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    """Rows that were changed in PostgreSQL since: the first of each table."""
    clashed: int = 0
    unsolvable: int = 0
    choice: str | None = None

    def refuse(self) -> None:
        """Note that nothing was written because of clashes."""
        self.refused, self.status = True, "different"

    @property
    def changed(self) -> int:
        """Rows that were, or would be, written."""
        return sum(row["inserted"] + row["updated"] + row["deleted"] for row in self.changes)

    def add_found(self, found: Sequence[Found]) -> None:
        """Take in what was found of each table."""
        self.changes, self.clashes, self.clashed, self.unsolvable = [], [], 0, 0
        for one in found:
            record = one.pair.record
            self.clashes += one.clashes
            self.clashed += one.clashed
            self.unsolvable += one.unsolvable
            self.changes.append(
                {
                    "source_table": record.source_table,
                    "target_table": record.target_table,
                    "rows": one.rows,
                    "inserted": one.inserted,
                    "updated": one.updated,
                    "deleted": one.deleted,
                    "rejected": one.rejected,
                    "clashes": one.clashed,
                }
            )


@dataclass(frozen=True)
class File:
    """A file that is caught up with: what is recorded of it, and its new snapshot."""

    record: SourceRecord
    snapshot: Snapshot
    pairs: list[Pair]

    @property
    def changed(self) -> bool:
        return self.snapshot.sha256 != self.record.sha256


def sync_files(
    settings: Settings,
    files: Sequence[Path],
    options: Options,
    progress: Progress,
    *,
    choice: str | None = None,
    dry_run: bool = False,
) -> Synced:
    """Bring PostgreSQL to what imported files hold now, writing only what differs.

    Rows that were changed in PostgreSQL since the import are never overwritten, unless `choice` is "theirs"; where it
    is None nothing at all is written then, and the outcome lists them. `dry_run` writes nothing in any case. Raises
    `CallyticsError` when refused or failed: PostgreSQL is then as it was.
    """
    with _failures(settings), interruptible_connection(settings) as connection, _no_new_folders(options.snapshots):
        ready(connection)
        ledger = Ledger(connection)
        records = _records(ledger, files)
        with _snapshots(ledger, records, options.snapshots) as taken:
            return until_written(
                connection, lambda lock: Sync(settings, connection, options, progress, choice, dry_run).run(taken, lock)
            )


def until_written(connection: Connection, attempt: Callable[[bool], Synced], *, lock: bool = False) -> Synced:
    """Try until nobody has written to the same rows meanwhile; lock the tables against writers where it must be."""
    for _ in range(ATTEMPTS):
        try:
            return attempt(lock)
        except Overtaken:
            connection.rollback()
        except ForeignKeysInTheWay:
            connection.rollback()
            lock = True
    raise TargetError(OVERTAKEN)


def ready(connection: Connection) -> None:
    """Refuse a database that is not migrated, where an import runs, or where one was cut off; then hold the lock."""
    target = Target(connection)
    target.check_ready()
    target.lock()
    for run, paths in Ledger(connection).unfinished_runs():
        raise TargetError(f"import {run} is unfinished: first run 'callytics import {' '.join(paths)}'")
    connection.commit()


def _records(ledger: Ledger, files: Sequence[Path]) -> dict[Path, SourceRecord]:
    """Return what is recorded of each file; `SourceError` where one was never imported."""
    found: dict[Path, SourceRecord] = {}
    for file in files:
        path = Path(os.path.realpath(file))
        record = ledger.source_of_path(path)
        if record is None:
            known = ", ".join(ledger.imported_paths()) or "none"
            raise SourceError(f"{path} was never imported here (imported: {known}): run 'callytics import {file}'")
        if record in found.values():
            raise SourceError(f"{file} is named twice: name it once")
        found[path] = record
    ledger.connection.commit()
    return found


def base_snapshot(record: SourceRecord) -> Path:
    """Return the snapshot of what PostgreSQL was given last; `SourceError` where it is gone or another."""
    path = Path(record.snapshot_path)
    if not path.exists():
        raise SourceError(
            f"the snapshot {path} of import {record.run} is gone: put it back (SHA-256 {record.sha256}), since only it "
            "tells what was imported and what was changed afterwards"
        )
    if file_sha256(path) != record.sha256:
        raise SourceError(f"the snapshot {path} of import {record.run} was changed: put back the one that was taken")
    return path


@contextmanager
def _snapshots(
    ledger: Ledger, records: dict[Path, SourceRecord], folder: Path
) -> Iterator[list[tuple[SourceRecord, Snapshot]]]:
    """Yield a snapshot of each file; afterwards those that the records do not name are removed.

    A file whose rows refer to another file's comes first: while the application goes on writing, every recording that
    a session refers to is then in the later snapshot.
    """
    bases = {path: Source(base_snapshot(record), record.path) for path, record in records.items()}
    before = set(folder.absolute().glob("*.sqlite"))
    taken: list[tuple[SourceRecord, Snapshot]] = []
    try:
        for path in sorted(records, key=lambda path: not _leads_abroad(bases[path])):
            taken.append((records[path], take_snapshot(path, folder)))
        yield list(reversed(taken))
    finally:
        new = {snapshot.path for _, snapshot in taken} - before
        outdated = {Path(record.snapshot_path) for record in records.values()}
        # Where the records can't be read, too much is kept rather than too little.
        with suppress(psycopg2.Error):
            ledger.connection.rollback()
            for path in (new | outdated) - {Path(path) for path in ledger.own_snapshots()}:
                path.unlink(missing_ok=True)
            ledger.connection.rollback()


def _leads_abroad(source: Source) -> bool:
    names = {table.name.lower() for table in source.tables}
    return any(
        parent.lower() not in names
        for table_mappings in source.table_mappings.values()
        for table_mapping in table_mappings
        for parent in table_mapping.mapping.references.values()
    )


class Sync:
    """One comparison of files with PostgreSQL, and what follows from it, in one transaction of its connection."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        options: Options,
        progress: Progress,
        choice: str | None,
        dry_run: bool,
    ) -> None:
        self.settings, self.connection, self.options, self.progress = settings, connection, options, progress
        self.choice, self.dry_run = choice, dry_run
        self.ledger, self.target, self.staging = Ledger(connection), Target(connection), Staging(connection)
        self.began = time.monotonic()

    def run(self, taken: Sequence[tuple[SourceRecord, Snapshot]], lock: bool) -> Synced:
        """Compare, apply and verify; everything is rolled back where rows clash or nothing is to be written.

        With `lock` nobody else writes meanwhile, so that foreign keys can step aside.
        """
        outcome = Synced(dry_run=self.dry_run, choice=self.choice)
        moment = begin(self.connection, lock=lock)
        files = [File(record, snapshot, self._pairs(record, snapshot)) for record, snapshot in taken]
        pairs = [pair for file in files for pair in file.pairs]
        found = side_by_side(
            lambda watched: Comparer(self.settings, self.staging, watched, snapshot=moment, choice=self.choice),
            lambda comparer, pair: comparer.compare(pair),
            pairs,
            self.options.jobs,
            self.progress,
        )
        self.staging.prepare()
        orphans = self._check_references(files, found)
        if orphans and not lock:
            raise ForeignKeysInTheWay
        outcome.add_found(found)
        if outcome.unsolvable or (outcome.clashed and not self.choice):
            outcome.refuse()
        if outcome.refused or self.dry_run:
            self.connection.rollback()
            return outcome
        self._write(files, found, lock)
        self._verify(outcome, found)
        outcome.add_found(found)
        for run in sorted({file.record.run for file in files}):
            self._conclude(outcome, run)
        return outcome

    # --- which table became which -----------------------------------------------------------------------------------

    def _pairs(self, record: SourceRecord, snapshot: Snapshot) -> list[Pair]:
        """Pair the tables of a file as it was with those that it has now; new ones are recorded."""
        base, theirs = Source(base_snapshot(record), record.path), Source(snapshot.path, record.path)
        zone = _zone(record.timezone)
        known = {(row.source_table.lower(), row.target_table): row for row in self.ledger.tables(record.id)}
        relatives = self._relatives(record, theirs, known.values())
        pairs: list[Pair] = []
        for side, wanted in self._wanted(theirs, zone):
            old = known.pop((wanted.source_table.lower(), wanted.target_table), None)
            row = self._recorded(record, old, wanted, side, relatives)
            before = base_side(base, old, self.target, zone) if old else None
            pairs.append(
                Pair(
                    row,
                    before,
                    replace(side, conversion=side.conversion and replace(side.conversion, offsets=row.offsets)),
                )
            )
        pairs += [Pair(row, base_side(base, row, self.target, zone), None) for row in known.values()]
        return pairs

    def _wanted(self, source: Source, zone: tzinfo) -> Iterator[tuple[Side, TableRecord]]:
        """Yield each way of a table into a target, with what would be recorded of it."""
        for table in source.tables:
            rows = source.counts[table.name]
            for table_mapping in source.table_mappings[table.name]:
                mapping = table_mapping.mapping
                conversion = Conversion(source, table_mapping, self.target.columns(mapping.target), {}, zone)
                record = TableRecord(0, table.name, mapping.name, mapping.target, (), 0, {}, rows, None)
                yield Side(source, table, conversion), record
            if unmapped := source.unmapped_columns(table):
                yield (
                    Side(source, table, None),
                    TableRecord(0, table.name, None, UNMAPPED, unmapped, 0, {}, rows, None),
                )

    def _relatives(self, record: SourceRecord, source: Source, rows: Iterable[TableRecord]) -> Relatives:
        """Return where the references of new tables lead: the families that there are keep their ids."""
        known: Families = {(source.path, row.source_table.lower()): row.id_offset for row in rows if row.mapping}
        if {name for path, name in known} >= {
            table.name.lower() for table in source.tables if source.table_mappings[table.name]
        }:
            return Relatives([source], known, self.ledger, [record.run])
        return Relatives([source], id_offsets([source], self.target, known), self.ledger, [record.run])

    def _recorded(
        self, record: SourceRecord, old: TableRecord | None, wanted: TableRecord, side: Side, relatives: Relatives
    ) -> TableRecord:
        """Return the record of a table as it is now; ids and offsets stay what they were."""
        if old:
            return replace(wanted, id=old.id, id_offset=old.id_offset, offsets=old.offsets, loaded_at=old.loaded_at)
        if side.conversion is None:
            return self.ledger.add_table(record.id, wanted, loaded=True)
        own = relatives.families.get((side.source.path, side.table.name.lower()), 0)
        mapping = side.conversion.table_mapping.mapping
        offsets = {
            column: relatives.offset(side.source, side.conversion.table_mapping, parent)
            for column, parent in mapping.references.items()
        }
        if mapping.key not in mapping.references:
            offsets[mapping.key] = own
        moved = {column: offset for column, offset in offsets.items() if offset}
        return self.ledger.add_table(record.id, replace(wanted, id_offset=own, offsets=moved), loaded=True)

    # --- references -------------------------------------------------------------------------------------------------

    def _check_references(self, files: Sequence[File], found: Sequence[Found]) -> bool:
        """Find references that would lead to somebody else's row; tells whether rows will be left without a parent."""
        by_table = {one.pair.record.id: one for one in found}
        for file in files:
            for child in file.pairs:
                self._check_own(file, child, by_table)
        children = self.staging.remaining_children()
        for row in children:
            if row.run is None:
                clash_on(found, row, final=True)
        return bool(children)

    def _check_own(self, file: File, child: Pair, by_table: dict[int, Found]) -> None:
        references = child.conversion.table_mapping.mapping.references if child.conversion and child.theirs else {}
        for column, table in references.items():
            for parent in file.pairs:
                if is_family(parent, table):
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

    # --- writing ----------------------------------------------------------------------------------------------------

    def _write(self, files: Sequence[File], found: Sequence[Found], aside: bool) -> None:
        """Apply everything, with its records, and commit; then validate the foreign keys that stepped aside."""
        self.progress("apply", 0, 1)
        keys = self.staging.apply(aside=aside)
        self._keep_refused(found)
        for one in found:
            self._record(one)
        for file in files:
            self._record_file(file, found)
        for pair in (pair for file in files for pair in file.pairs if pair.theirs and is_family(pair)):
            highest = pair.theirs.source.sequence(pair.theirs.table) + pair.record.id_offset  # type: ignore[union-attr]
            self.target.set_sequence(pair.record.target_table, highest)
        self.target.restore_topic()
        self.connection.commit()
        targets = {pair.record.target_table for file in files for pair in file.pairs if pair.conversion}
        validate(self.connection, files[0].record.run, [*keys, *self.staging.not_validated(targets)])

    def _keep_refused(self, found: Sequence[Found]) -> None:
        """Keep aside what PostgreSQL refused, and correct the figures; what it refused before stays as it is."""
        for one in found:
            one.inserted += one.retried
        for one, refused in refused_rows(self.staging, found):
            conversion = one.pair.conversion
            assert conversion
            with Converter(conversion) as converter:
                chunk = converter.chunk((refused.rowid, refused.rowid))
                row = RefusedRow(refused.rowid, None, refused.reason, converter.source_values(refused.rowid))
            one.take_back(chunk, was_there=refused.was_there)
            self._reject(one, row)

    def _reject(self, one: Found, row: RefusedRow) -> None:
        table = one.pair.record.id
        kept = self.ledger.rejected(table, (row.rowid, row.rowid)).get(row.rowid)
        if kept and kept.column is None and same_json(kept.row, encode_row(row.values)):
            return
        one.asides += 1
        self.staging.keep_aside(one.pair, [row.rowid], [row])

    def _record(self, one: Found) -> None:
        """Bring the record of a table up to what it is now."""
        record = one.pair.record
        if one.pair.theirs is None:
            self.ledger.forget_table(record.id)
            return
        exact = len(one.ranges) <= MOST_RANGES and one.pair.conversion
        self.ledger.update_table(record, multirange(one.ranges) if exact else None)
        if one.changes or one.pair.base is None:
            row_range = (one.rowids[0], one.rowids[-1]) if one.rowids else None
            self.ledger.replace_chunks(record.id, row_range, (one.copied, one.normalised, one.rejected))
            for (column, name), count in one.normalisations.items():
                if count:
                    self.ledger.add_normalisation(record.id, column, name, count, one.examples[column, name])

    def _record_file(self, file: File, found: Sequence[Found]) -> None:
        own = {pair.record.id for pair in file.pairs}
        mine = [one for one in found if one.pair.record.id in own]
        if not file.changed and not any(one.changes for one in mine):
            return
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

    # --- verdict ----------------------------------------------------------------------------------------------------

    def _verify(self, outcome: Synced, found: Sequence[Found]) -> None:
        """Compare again, value by value, every range of rows in which something was written."""
        todo = [one for one in found if one.pair.theirs]
        again = {one.pair.record.id: one for one in self._compare_again([one for one in todo if one.changed])}
        for one in todo:
            record, checked = one.pair.record, again.get(one.pair.record.id)
            left = one.clashed if self.choice == "ours" else 0
            different = max(0, checked.changes + checked.clashed - left) if checked else 0
            if checked and different:
                outcome.differences += [
                    Difference(clash.table, clash.key, ", ".join(clash.columns) or None, clash.finding)
                    for clash in checked.clashes or [Clash(record.target_table, 0, (), "is not what SQLite holds")]
                ]
            self.ledger.verified_table(record.id, one.rows, different, self.began)
        self.connection.commit()

    def _compare_again(self, found: Sequence[Found]) -> list[Found]:
        changed = {one.pair.record.id: one.changed for one in found}
        pairs = [replace(one.pair, base=one.pair.theirs) for one in found]
        return side_by_side(
            lambda watched: Comparer(self.settings, Nowhere(), watched, retry=False, word="verify"),
            lambda comparer, pair: comparer.compare(pair, [(theirs, theirs) for theirs, _ in changed[pair.record.id]]),
            pairs,
            self.options.jobs,
            self.progress,
        )

    def _conclude(self, outcome: Synced, run: int) -> None:
        tables = self.ledger.summary(run)
        different = any(table.different_rows for table in tables)
        status = "different" if different else "rejects" if any(table.rejected for table in tables) else "verified"
        self.ledger.finish_run(run, status)
        self.connection.commit()
        outcome.add_run(run, status, self.ledger)
        self.connection.commit()


# --- what sync and undo share -----------------------------------------------------------------------------------------


def begin(connection: Connection, *, lock: bool) -> str:
    """Begin a transaction that sees the database as it is now; returns the name under which others can see the same.

    With `lock` the tables can be read but not written by others until it ends. The locks come first: what a
    transaction sees is settled by its first query.
    """
    tables = lockable(connection) if lock else []
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read")
        if tables:
            cursor.execute(f"lock table {', '.join(tables)} in share row exclusive mode")
        cursor.execute("select pg_export_snapshot()")
        return str(cursor.fetchone()[0])  # type: ignore[index]


def base_side(base: Source, row: TableRecord, target: Target, zone: tzinfo) -> Side:
    """Return a table as it was when it was taken last."""
    table = next(table for table in base.tables if table.name.lower() == row.source_table.lower())
    if row.mapping is None:
        return Side(base, table, None)
    table_mapping = next((b for b in base.table_mappings[table.name] if b.mapping.target == row.target_table), None)
    if table_mapping is None:
        raise TargetError(f"{base.label} was imported by mapping {row.mapping}, which this version of callytics lacks")
    return Side(base, table, Conversion(base, table_mapping, target.columns(row.target_table), row.offsets, zone))


def is_family(pair: Pair, table: str | None = None) -> bool:
    """Tell whether a pair gives ids of its own, and is of this source table if one is named."""
    own = pair.conversion is not None and pair.conversion.key not in pair.conversion.table_mapping.mapping.references
    return own and table in (None, pair.record.source_table.lower(), pair.record.source_table)


def clash_on(found: Sequence[Found], row: Child, *, final: bool) -> None:
    """Count a row that refers to one that is to be deleted and that no import brought."""
    one = next(one for one in found if one.pair.record.target_table == row.parent)
    finding = f"was added in PostgreSQL and refers to a row of {row.parent} that is to be deleted"
    one.clash(row.table, row.key, (), finding, final=final)


def multirange(ranges: Iterable[Sequence[int]]) -> str:
    """Return ranges of ids, ends included, as PostgreSQL writes them."""
    return "{" + ",".join(f"[{first},{last}]" for first, last in ranges) + "}"


def validate(connection: Connection, run: int, keys: Iterable[ForeignKey]) -> None:
    """Validate foreign keys; those that rows without a parent keep from it stay NOT VALID, on record. Commits."""
    target, ledger = Target(connection), Ledger(connection)
    for table, name, definition in sorted({(key.table, key.name, key.definition) for key in keys}):
        orphans = target.restore_foreign_key(table, name, definition)
        ledger.record_orphans(run, (table, name, definition), orphans)
        connection.commit()


# --- words ------------------------------------------------------------------------------------------------------------


def sync_lines(outcome: Synced) -> Iterator[str]:
    """Yield what `sync` prints."""
    yield from outcome.notes
    yield from changes_lines(outcome)
    yield from clash_lines(outcome)
    for row in outcome.rejects:
        yield f"{row.source_table}: {row.rows:,} rows rejected: {row.reason} (kept in imports.rejected)"
    for key in outcome.not_validated:
        yield f"{key.table_name}: {key.orphans:,} rows without a parent, {key.name} is left NOT VALID"
    for difference in outcome.differences:
        column = f".{difference.column}" if difference.column else ""
        yield f"DIFFERENT {difference.table}{column}, row {difference.key}: {difference.finding}"
    yield verdict(outcome)


def changes_lines(outcome: Synced) -> Iterator[str]:
    """Yield a table of what was written, or would be."""
    rows = [row for row in outcome.changes if any(row[name] for name in COUNTED)]
    if rows:
        yield from table_lines(
            ("table", "goes to", *COUNTED),
            [(row["source_table"], row["target_table"], *(f"{row[name]:,}" for name in COUNTED)) for row in rows],
            right={2, 3, 4, 5, 6},
        )


COUNTED = ("inserted", "updated", "deleted", "rejected", "clashes")


def clash_lines(outcome: Synced) -> Iterator[str]:
    """Yield a line for each clash that is listed, and how many are not."""
    for clash in outcome.clashes:
        columns = f" ({', '.join(clash.columns)})" if clash.columns else ""
        yield f"CLASH {clash.table}, row {clash.key}{columns}: {clash.finding}"
    if outcome.clashed > len(outcome.clashes):
        yield f"… and {outcome.clashed - len(outcome.clashes):,} more"


def verdict(outcome: Synced) -> str:
    """Say in one sentence what a sync came to."""
    if outcome.unsolvable:
        return (
            f"Refused, nothing was changed: for {counted(outcome.unsolvable, 'row')} neither side can be taken, since "
            "rows that were added in PostgreSQL itself are in the way. Undo the import and import the files anew: "
            "their ids then move as a whole."
        )
    if outcome.refused:
        return (
            f"Refused, nothing was changed: {counted(outcome.clashed, 'row', 'changed')} in PostgreSQL since the "
            "import. --ours keeps what is there, --theirs takes what SQLite holds."
        )
    if outcome.dry_run:
        return f"{counted(outcome.changed, 'row')} would change."
    if outcome.differences:
        return f"Verification found differences after {counted(outcome.changed, 'row', 'changed')}."
    settled = f"; {counted(outcome.clashed, 'clash', 'settled')} by --{outcome.choice}" if outcome.clashed else ""
    if not outcome.changed:
        return f"Verified: nothing had changed{settled}."
    return f"Verified: {counted(outcome.changed, 'row', 'changed')}, all values are equal{settled}."


def counted(number: int, noun: str, done: str = "") -> str:
    """Return a number with its noun, and what was done to it: 1 row was changed, 2 rows were changed."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("sh") else f"{noun}s"
    verb = f" {'was' if number == 1 else 'were'} {done}" if done else ""
    return f"{number:,} {plural}{verb}"
