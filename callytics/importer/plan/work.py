"""The work of an import: what goes from one source table to one target, ready to be loaded or verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import cached_property
from pathlib import Path

from callytics.exceptions import TargetError
from callytics.importer.convert.chunks import Conversion
from callytics.importer.options import Limits, zone_named
from callytics.importer.plan.zones import table_records
from callytics.importer.records.entries import SourceRecord, TableRecord
from callytics.importer.records.ledger import UNMAPPED, Ledger
from callytics.importer.source.mapping import SourceTable
from callytics.importer.source.reader import EVERYTHING, RowRange, Source
from callytics.importer.target.catalogue import Target
from callytics.importer.target.comparing.verify import Verification, Verifier
from callytics.importer.target.writing.load import Loader
from callytics.postgres.text import quoted


@dataclass(frozen=True)
class MappedWork:
    """A row of ``imports.tables`` whose source rows go to a table of the schema."""

    record: TableRecord
    conversion: Conversion

    @property
    def target(self) -> str:
        """Return the name of the target table."""
        return self.conversion.target

    @cached_property
    def pieces(self) -> list[RowRange]:
        """The row ranges that can be loaded or verified in parallel."""
        return self.conversion.source.pieces(self.conversion.table_mapping.table)

    @property
    def gives_ids(self) -> bool:
        """Whether the table has ids of its own, rather than those of its parent."""
        return self.conversion.key not in self.conversion.table_mapping.mapping.references

    @property
    def is_alike(self) -> bool:
        """Whether installations have these rows alike, so that the target may hold some already."""
        return bool(self.conversion.same_by)

    @property
    def key_is_unique(self) -> bool:
        """Whether SQLite guarantees that no two rows of the table have the same id."""
        return self.conversion.source.key_is_rowid(self.conversion.table_mapping)

    @property
    def highest_id(self) -> int:
        """The highest id that SQLite has ever given out for the table, with the offset of the target."""
        return self.conversion.source.sequence(self.conversion.table_mapping.table) + self.record.id_offset

    def load(self, loader: Loader, piece: RowRange) -> None:
        """Load a piece; commits chunk by chunk."""
        loader.load(self.record, self.conversion, piece)

    def verify(self, verifier: Verifier, piece: RowRange) -> Verification:
        """Compare a piece."""
        return verifier.verify(self.record, self.conversion, piece)


@dataclass(frozen=True)
class UnmappedWork:
    """A row of ``imports.tables`` whose source rows, or their unmapped columns, are stored in ``imports.unmapped``."""

    record: TableRecord
    source: Source
    table: SourceTable

    target = UNMAPPED
    pieces = (EVERYTHING,)

    def load(self, loader: Loader, piece: RowRange) -> None:
        """Store all rows in ``imports.unmapped``; commits chunk by chunk. An unmapped table is a single piece."""
        loader.keep(self.record, self.source, self.table)

    def verify(self, verifier: Verifier, piece: RowRange) -> Verification:
        """Compare all rows."""
        return verifier.verify_kept(self.record, self.source, self.table)


Work = MappedWork | UnmappedWork


def recorded_works(ledger: Ledger, record: SourceRecord, snapshot: Path, limits: Limits) -> Iterator[Work]:
    """Yield the work of a recorded source, with the offsets and the zone that were chosen when its import began.

    Raises ``TargetError`` if this version lacks a mapping that was used then: with another one, the rest of the rows
    would be converted, or all of them verified, by other rules.
    """
    source = Source(snapshot, record.path, limits)
    zone = zone_named(record.timezone)
    tables = {table.name: table for table in source.tables}
    target = Target(ledger.connection)
    for row in ledger.tables(record.id):
        table = tables[row.source_table]
        if row.mapping is None:
            yield UnmappedWork(row, source, table)
            continue
        mapped = next((one for one in source.table_mappings[table.name] if one.mapping.name == row.mapping), None)
        if mapped is None:
            raise TargetError(
                f"import {record.run} used mapping {row.mapping}, which this version of callytics lacks: use the "
                f"version that began it, or take it back with {quoted('callytics undo', record.run)}"
            )
        columns = target.columns(row.target_table)
        yield MappedWork(row, Conversion(source, mapped, columns, row.offsets, zone, row.readings, row.erased))


def unrecorded_works(source: Source, columns: Mapping[str, dict[str, str]], zone: tzinfo) -> Iterator[Work]:
    """Yield the work of a file that is not imported, for its plan: without offsets, and nothing is recorded."""
    for row in table_records(source):
        table = next(table for table in source.tables if table.name == row.source_table)
        mapped = next((one for one in source.table_mappings[table.name] if one.mapping.name == row.mapping), None)
        if mapped is None:
            yield UnmappedWork(row, source, table)
        else:
            yield MappedWork(row, Conversion(source, mapped, columns[row.target_table], {}, zone))
