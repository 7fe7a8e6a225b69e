"""Ids: they are kept, or a whole id space (a table's ids and all references to them) moves by one offset.

One offset for all, rather than a new id where an old one is taken: references stay right without looking any of them
up, and the offset alone leads from a row back to its source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from callytics.exceptions import SourceError, TargetError
from callytics.importer.convert.values import LARGEST_BIGINT
from callytics.importer.records.entries import TableRecord
from callytics.importer.records.ledger import Ledger
from callytics.importer.source.mapping import TableMapping
from callytics.importer.source.reader import Source
from callytics.importer.target.catalogue import Target
from callytics.postgres.sql import folded

# (snapshot, table name in lower case) → what is added to the ids of that id space.
Offsets = dict[tuple[Path, str], int]


def id_offsets(sources: Sequence[Source], target: Target, known: Offsets | None = None) -> Offsets:
    """Return the offset of each id space: the ``known`` one, 0 if its ids are free, or else past every id in use.

    References count as part of an id space: a child whose parent is missing in SQLite must not get a stranger's row
    as its parent. Raises ``TargetError`` if ``bigint`` has no ids left.
    """
    offsets: Offsets = dict(known or {})
    planned: dict[str, list[tuple[int, int]]] = {}
    for source, mapped in _id_spaces(sources):
        if (source.path, folded(mapped.table.name)) in offsets:
            continue
        table = mapped.mapping.target
        taken = planned.setdefault(table, target.lost_ids(table) if table not in planned else [])
        own = source.id_range(mapped)
        spans = [own] if own else []
        # Only then can a reference lead to a row of another origin; reading all references takes a scan.
        if taken or not target.is_empty(table):
            spans += [span for span in _reference_ranges(source, mapped, sources) if span]
        if not spans:
            continue
        first, last = min(low for low, _ in spans), max(high for _, high in spans)
        offset = 0
        if target.ids_taken(table, first, last) or any(first <= end and start <= last for start, end in taken):
            # Past every id ever given out rather than into a gap: the id of a deleted row must not mean another.
            offset = max([target.highest_id(table), *(end for _, end in taken)]) + 1 - first
        last = max(own[1] if own else 0, source.sequence(mapped.table)) + offset
        if last > LARGEST_BIGINT:
            raise TargetError(
                f"{source.label}: no ids are left in {table} for those of {mapped.table.name}: import it into another "
                "database, or take back the import that has the largest ids"
            )
        offsets[source.path, folded(mapped.table.name)] = offset
        taken.append((first + offset, last))
    return offsets


def _reference_ranges(
    source: Source, parent: TableMapping, sources: Sequence[Source]
) -> Iterator[tuple[int, int] | None]:
    """Yield the range of ids by which the file itself, or a file without such a table, refers to ``parent``."""
    for other in sources:
        for mapped in (mapped for table_mappings in other.table_mappings.values() for mapped in table_mappings):
            for column, table in mapped.mapping.references.items():
                meant = other is source or (not _generation(other, table) and _may_be_in_other_file(mapped, parent))
                if meant and folded(table) == folded(parent.table.name):
                    yield other.range_of(mapped, column)


def _generation(source: Source, table: str) -> int | None:
    """Return the generation of a table of a file; None if the file has no such table or it is not mapped."""
    found = (mapped for name, mapped in source.table_mappings.items() if mapped and folded(name) == folded(table))
    return next((mapped[0].mapping.generation for mapped in found), None)


def _may_be_in_other_file(child: TableMapping, parent: TableMapping) -> bool:
    """Return whether a reference may lead to another file: only generation 3 was spread over two files."""
    return child.mapping.generation == parent.mapping.generation


def reserve_ids(sources: Sequence[Source], offsets: Offsets, target: Target) -> None:
    """Set sequences past the ids of these sources, since the application may insert rows during the import."""
    for source, mapped in _id_spaces(sources):
        offset = offsets.get((source.path, folded(mapped.table.name)), 0)
        own = source.id_range(mapped)
        highest = max(source.sequence(mapped.table), own[1] if own else 0)
        target.set_sequence(mapped.mapping.target, highest + offset)


def planned_ids(source: Source, record: TableRecord) -> str | None:
    """Return, as a multirange, the keys that a table will have where the row numbers do not tell; None where they do.

    On record before the first row is loaded, so that an import can be undone without its file.
    """
    mapped = next(
        (one for one in source.table_mappings[record.source_table] if one.mapping.name == record.mapping), None
    )
    if mapped is None or source.key_is_rowid(mapped):
        return None
    ids = source.range_of(mapped, mapped.mapping.key)
    offset = record.offsets.get(mapped.mapping.key, 0)
    return multirange([(ids[0] + offset, ids[1] + offset)]) if ids else None


def multirange(ranges: Iterable[Sequence[int]]) -> str:
    """Return ranges of ids, both ends included, as the text of an ``int8multirange``."""
    return "{" + ",".join(f"[{first},{_end(last)}" for first, last in ranges) + "}"


def _end(last: int) -> str:
    # PostgreSQL keeps the number after the last one, and bigint has none after its largest.
    return ")" if last == LARGEST_BIGINT else f"{last}]"


def _id_spaces(sources: Sequence[Source]) -> Iterator[tuple[Source, TableMapping]]:
    for source in sources:
        for table_mappings in source.table_mappings.values():
            yield from (
                (source, mapped) for mapped in table_mappings if mapped.mapping.key not in mapped.mapping.references
            )


@dataclass(frozen=True)
class References:
    """Where references may lead: the files of this run, and earlier runs whose files were named along with them."""

    sources: Sequence[Source]
    offsets: Offsets
    ledger: Ledger
    named: Sequence[int]

    def offset(self, source: Source, child: TableMapping, parent: str) -> int:
        """Return the offset of the id space that ``child`` refers to: in its file, this run, or an earlier run.

        Raises ``SourceError`` if several with different offsets are possible: a guess could link a call to a
        stranger's recording.
        """
        if _generation(source, parent):
            return self.offsets.get((source.path, folded(parent)), 0)
        # Files of this run before earlier ones: those may belong to another installation.
        generation = child.mapping.generation
        found = {
            self.offsets.get((other.path, folded(parent)), 0)
            for other in self.sources
            if _generation(other, parent) == generation
        }
        earlier = [] if found else self.ledger.id_offsets(parent, generation)
        found = found or {offset for run, offset in earlier if run in self.named} or {offset for _, offset in earlier}
        if len(found) > 1:
            raise SourceError(
                f"{source.label}: {child.table.name} refers to {parent}, which several other files have: import one "
                f"installation at a time, all its files in one command"
            )
        return next(iter(found), 0)

    def moved(self, source: Source, record: TableRecord) -> TableRecord:
        """Return the record of a new table with the offsets of its ids and references; raises like ``offset``."""
        found = source.table_mappings[record.source_table]
        child = next((one for one in found if one.mapping.name == record.mapping), None)
        if child is None:
            return record
        mapping, own = child.mapping, self.offsets.get((source.path, folded(child.table.name)), 0)
        offsets = {column: self.offset(source, child, parent) for column, parent in mapping.references.items()}
        if mapping.key not in mapping.references:
            offsets[mapping.key] = own
        return replace(record, id_offset=own, offsets={column: offset for column, offset in offsets.items() if offset})
