"""Ids: they are kept, or a whole family moves, a table's rows and every reference to them, by one offset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from callytics.exceptions import SourceError, TargetError
from callytics.importer.convert.values import LARGEST_BIGINT
from callytics.importer.records.ledger import Ledger
from callytics.importer.source.mapping import TableMapping
from callytics.importer.source.reader import Source
from callytics.importer.target.catalogue import Target

Families = dict[tuple[Path, str], int]
"""Offset of the ids of a source table: (snapshot, table name in lower case) → what is added."""


def id_offsets(sources: Sequence[Source], target: Target, known: Families | None = None) -> Families:
    """Choose for each family of ids how far it moves: not at all where its ids are free, as before where it is `known`.

    What refers to the family counts as part of it: a child whose parent is gone must not find another's row there.
    """
    offsets: Families = dict(known or {})
    planned: dict[str, list[tuple[int, int]]] = {}
    for source, table_mapping in _families(sources):
        if (source.path, table_mapping.table.name.lower()) in offsets:
            continue
        table = table_mapping.mapping.target
        taken = planned.setdefault(table, [])
        own = source.id_range(table_mapping)
        spans = [own] if own else []
        if taken or not target.is_empty(table):
            spans += [span for span in _reference_ranges(source, table_mapping, sources) if span]
        if not spans:
            continue
        first, last = min(low for low, _ in spans), max(high for _, high in spans)
        offset = 0
        if target.ids_taken(table, first, last) or any(first <= end and start <= last for start, end in taken):
            offset = max([target.highest_id(table), *(end for _, end in taken)]) + 1 - first
        last = max(own[1] if own else 0, source.sequence(table_mapping.table)) + offset
        if last > LARGEST_BIGINT:
            raise TargetError(f"{source.label}: no ids are left in {table} for those of {table_mapping.table.name}")
        offsets[source.path, table_mapping.table.name.lower()] = offset
        taken.append((first + offset, last))
    return offsets


def _reference_ranges(
    source: Source, parent: TableMapping, sources: Sequence[Source]
) -> Iterator[tuple[int, int] | None]:
    """Yield the smallest and largest id by which the file itself, or one without such a table, refers to a family."""
    for other in sources:
        for table_mapping in (
            table_mapping for table_mappings in other.table_mappings.values() for table_mapping in table_mappings
        ):
            for column, table in table_mapping.mapping.references.items():
                meant = other is source or (not _generation(other, table) and _leads_abroad(table_mapping, parent))
                if meant and table.lower() == parent.table.name.lower():
                    yield other.range_of(table_mapping, column)


def _generation(source: Source, table: str) -> int | None:
    """Return the generation of a table of a file; None where the file has none, or one that is not mapped."""
    found = (
        table_mappings[0]
        for name, table_mappings in source.table_mappings.items()
        if table_mappings and name.lower() == table.lower()
    )
    return next((table_mapping.mapping.generation for table_mapping in found), None)


def _leads_abroad(child: TableMapping, parent: TableMapping) -> bool:
    """Tell whether a reference may lead to another file: only generation 3 was spread over two."""
    return child.mapping.generation == parent.mapping.generation


def reserve_ids(sources: Sequence[Source], families: Families, target: Target) -> None:
    """Let the application's inserts go past these ids from now on: it may run during the import."""
    for source, table_mapping in _families(sources):
        offset = families.get((source.path, table_mapping.table.name.lower()), 0)
        target.set_sequence(table_mapping.mapping.target, source.sequence(table_mapping.table) + offset)


def _families(sources: Sequence[Source]) -> Iterator[tuple[Source, TableMapping]]:
    for source in sources:
        for table_mappings in source.table_mappings.values():
            yield from (
                (source, table_mapping)
                for table_mapping in table_mappings
                if table_mapping.mapping.key not in table_mapping.mapping.references
            )


@dataclass(frozen=True)
class Relatives:
    """Where references may lead: the files of this run, and earlier runs whose files were named along with them."""

    sources: Sequence[Source]
    families: Families
    ledger: Ledger
    named: Sequence[int]

    def offset(self, source: Source, child: TableMapping, parent: str) -> int:
        """Return the offset of the family that `child` refers to: of its own file, of this run, or of an earlier one.

        Raises `SourceError` where it could be several.
        """
        if _generation(source, parent):
            return self.families.get((source.path, parent.lower()), 0)
        generation = child.mapping.generation
        found = {
            self.families.get((other.path, parent.lower()), 0)
            for other in self.sources
            if _generation(other, parent) == generation
        }
        earlier = [] if found else self.ledger.families(parent, generation)
        found = found or {offset for run, offset in earlier if run in self.named} or {offset for _, offset in earlier}
        if len(found) > 1:
            raise SourceError(
                f"{source.label}: {child.table.name} refers to {parent}, which several other files have: import one "
                f"installation at a time, all its files in one command"
            )
        return next(iter(found), 0)
