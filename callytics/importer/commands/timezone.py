"""To read an import's times in other zones: a sync of the same content, in which columns mean something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path

from callytics import __version__
from callytics.exceptions import TargetError
from callytics.importer.catching_up.attempt import Attempt
from callytics.importer.catching_up.difference import Comparison, until_written, validate
from callytics.importer.catching_up.file import File
from callytics.importer.catching_up.pairs import conversion_of, pair_of
from callytics.importer.catching_up.proof import Proof
from callytics.importer.convert.zones import Reading
from callytics.importer.options import Options, Progress, zone_named
from callytics.importer.outcome import Synced
from callytics.importer.plan.zones import AS_DECLARED, Choice, chosen_readings, declared_readings, time_names
from callytics.importer.records.entries import SourceRecord, TableRecord
from callytics.importer.session import Session, base_source, open_session, unfinished
from callytics.importer.source.mapping import TableMapping
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot
from callytics.importer.target.comparing.compare import Ranges
from callytics.importer.target.comparing.found import Found, MappedPair, Nowhere, Pair, Sink
from callytics.settings import Settings


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
        session.refuse_archived(run)
        files = [_file(session, record) for record in records]

        def attempt(lock: bool) -> tuple[ZoneChange, Synced]:
            one = ZoneChange(session, files, wanted, dry_run)
            return one, one.run(lock)

        change, outcome = until_written(session, attempt)
        if not (outcome.refused or dry_run):
            _prove(session, change, outcome)
        return outcome


def _prove(session: Session, change: ZoneChange, outcome: Synced) -> None:
    """Compare what was written once more: all other rows were found equal before."""
    validate(session, change.files[0].record.run, change.keys)

    def compare(pairs: Sequence[Pair], ranges: Sequence[Ranges | None] = ()) -> list[Found]:
        return Comparison(Nowhere(), retry=False, word="verify", lenient=True).of(session, pairs, ranges)

    Proof(session, change.files, change.found, compare).run(outcome)


def _records_of_run(session: Session, run: int) -> list[SourceRecord]:
    records = session.ledger.sources(run)
    if not records:
        raise TargetError(f"there is no import {run}: 'callytics report' names those that there are")
    if records[0].status == "running":
        raise unfinished(run, [record.path for record in records], "can't be read in another zone yet")
    if records[0].status == "undone":
        raise TargetError(f"import {run} was undone: import its files again with the right --timezone")
    return records


def _file(session: Session, record: SourceRecord) -> File:
    """Return a file of an import with the content that it has there."""
    source = base_source(session, record)
    snapshot = Snapshot(Path(record.path), Path(record.snapshot_path), record.sha256, record.size_bytes)
    return File(record, snapshot, source, source)


class ZoneChange(Attempt):
    """One attempt: the comparison of an import with itself in other zones, and its changes, in one transaction."""

    def __init__(self, session: Session, files: Sequence[File], wanted: Wanted, dry_run: bool) -> None:
        super().__init__(session, files, self._pairs, self._compare, choice=wanted.choice, dry_run=dry_run)
        self.wanted = wanted
        # By TABLE.COLUMN: the reading before and after.
        self.changes: dict[str, list[str]] = {}
        self._recorded_runs: set[int] = set()

    def _compare(self, sink: Sink, moment: str, pairs: Sequence[Pair]) -> list[Found]:
        # Rows that only PostgreSQL has changed are let be, rather than found to clash.
        return Comparison(sink, snapshot=moment, choice=self.choice, lenient=True).of(self.session, pairs)

    def _pairs(self, file: File) -> list[Pair]:
        """Pair each table of a file with itself, as it was read and as it is to be read."""
        return [self._pair(file.record, row, file.was) for row in self.ledger.tables(file.record.id)]

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

    def record_file(self, file: File) -> None:
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
            changed=sum(one.changes for one in self.found),
            kept=self.choice if any(one.clashed for one in self.found) else None,
        )
