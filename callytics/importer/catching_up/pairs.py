"""The tables of a file as it was and as it is: which of them are compared by the rows that differ, and which whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import tzinfo

from callytics.exceptions import TargetError
from callytics.importer.catching_up.file import File
from callytics.importer.convert.chunks import Conversion
from callytics.importer.options import zone_named
from callytics.importer.plan.ids import Offsets, References, id_offsets
from callytics.importer.plan.zones import table_records
from callytics.importer.records.entries import TableRecord
from callytics.importer.session import Session
from callytics.importer.source.mapping import SourceTable
from callytics.importer.source.reader import Source
from callytics.importer.target.catalogue import Target
from callytics.importer.target.comparing.found import MappedPair, Pair, Side, UnmappedPair
from callytics.postgres.sql import folded


class Pairing:
    """Pairs the tables of a file as it was with those that it has now."""

    def __init__(self, session: Session, file: File) -> None:
        self.session, self.file = session, file
        self.ledger, self.target = session.ledger, session.target
        self.zone = zone_named(file.record.timezone)

    def pairs(self) -> list[Pair]:
        """Return the pairs; tables that are new are recorded.

        A table is recognised by its name and target: its mapping may be another one since it gained columns.
        """
        file = self.file
        known = {(folded(row.source_table), row.target_table): row for row in self.ledger.tables(file.record.id)}
        references = self._references(known.values())
        # What was imported before columns were told apart goes on with one zone for all.
        told_apart = not any(row.mapping and row.readings is None for row in known.values())
        pairs: list[Pair] = []
        for wanted in table_records(file.now, counts=self._counts(known.values())):
            old = known.pop((folded(wanted.source_table), wanted.target_table), None)
            wanted = replace(wanted, readings=_readings(old, wanted) if told_apart else None)
            row = self._recorded(old, wanted, references)
            pairs.append(self._pair(row, old))
        pairs += [pair_of(row, file.was, None, self.target, self.zone) for row in known.values()]
        return pairs

    def _pair(self, row: TableRecord, old: TableRecord | None) -> Pair:
        file = self.file
        rows = file.excerpt.rows.get(folded(row.source_table)) if file.excerpt else None
        # What is converted by another mapping than before is another row, whether the file has changed it or not.
        if file.excerpt and rows is not None and old and _is_same(old, row):
            pair = pair_of(row, file.excerpt.was, file.excerpt.now, self.target, self.zone)
            if _tells(pair, rows):
                return replace(pair, differing=rows)
        return pair_of(row, file.was if old else None, file.now, self.target, self.zone)

    def _counts(self, known: Iterable[TableRecord]) -> dict[str, int]:
        """Return the rows of each table: what was there, and what came and went, instead of counting all of them."""
        recorded = {row.source_table: row.source_rows for row in known}
        return {table.name: self._count(table, recorded.get(table.name)) for table in self.file.now.tables}

    def _count(self, table: SourceTable, recorded: int | None) -> int:
        excerpt = self.file.excerpt
        if excerpt is None or recorded is None or folded(table.name) not in excerpt.rows:
            return self.file.now.count(table)
        return recorded + excerpt.now.counts[table.name] - excerpt.was.counts[table.name]

    def _references(self, rows: Iterable[TableRecord]) -> References:
        """Return the offsets for references of new tables; known id spaces keep theirs, or their rows would move."""
        source = self.file.now
        known: Offsets = {(source.path, folded(row.source_table)): row.id_offset for row in rows if row.mapping}
        mapped = {folded(table.name) for table in source.tables if source.table_mappings[table.name]}
        offsets = known if {name for _, name in known} >= mapped else id_offsets([source], self.target, known)
        return References([source], offsets, self.ledger, [self.file.record.run])

    def _recorded(self, old: TableRecord | None, wanted: TableRecord, references: References) -> TableRecord:
        """Return the record of a table as it is now, with the number and offsets that it has, or a new record."""
        if old:
            return replace(
                wanted,
                id=old.id,
                id_offset=old.id_offset,
                offsets=old.offsets,
                loaded_at=old.loaded_at,
                erased=old.erased,
            )
        return self.ledger.add_table(self.file.record.id, references.moved(self.file.now, wanted), loaded=True)


def pair_of(record: TableRecord, base: Source | None, theirs: Source | None, target: Target, zone: tzinfo) -> Pair:
    """Return a recorded table in the file as it was and as it is; a source is None if it has no such table.

    Raises ``TargetError`` if this version of callytics lacks the mapping by which the table was imported.
    """
    if record.mapping is None:
        sides = [_side(source, record) if source else None for source in (base, theirs)]
        return UnmappedPair(record, sides[0], sides[1])
    columns = target.columns(record.target_table)
    conversions = [conversion_of(source, record, columns, zone) if source else None for source in (base, theirs)]
    return MappedPair(record, conversions[0], conversions[1])


def _side(source: Source, record: TableRecord) -> Side:
    name = folded(record.source_table)
    (table,) = [table for table in source.tables if folded(table.name) == name]
    return Side(source, table)


def conversion_of(source: Source, record: TableRecord, columns: dict[str, str], zone: tzinfo) -> Conversion:
    """Return how the rows of a recorded table became the target's; raises like ``pair_of``."""
    # By its target: another version, or a table that gained columns, may map it by a mapping of another name.
    found = source.table_mappings[_side(source, record).table.name]
    mapped = next((one for one in found if one.mapping.target == record.target_table), None)
    if mapped is None:
        raise TargetError(
            f"{source.label} was imported by mapping {record.mapping}, which this version of callytics lacks"
        )
    return Conversion(source, mapped, columns, record.offsets, zone, record.readings, record.erased)


def _tells(pair: Pair, rows: int) -> bool:
    """Tell whether the rows that differ, which are so many, say what is to be done.

    Otherwise a row of the same id can have another number, only all rows tell which of two with one id is loaded, or a
    row can be one that another import has as well.
    """
    alike = isinstance(pair, MappedPair) and pair.conversion.same_by
    return (pair.in_order or not rows) and not alike


def _is_same(old: TableRecord, row: TableRecord) -> bool:
    """Tell whether a row that the file has not changed is converted as before."""
    before, now = ((one.source_table, one.mapping, one.unmapped_columns, one.readings) for one in (old, row))
    return before == now


def _readings(old: TableRecord | None, wanted: TableRecord) -> dict[str, str] | None:
    """Return how a table's times are read: as they were, and a column that it has gained as it is declared."""
    return wanted.readings and {**wanted.readings, **(old.readings or {} if old else {})}
