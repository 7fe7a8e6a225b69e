"""Which zone the times of a file's columns are read in: as its tables declare, unless somebody names the column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from callytics.exceptions import SourceError
from callytics.importer.convert.zones import Reading
from callytics.importer.limits import refuse_beyond
from callytics.importer.records.entries import TableRecord
from callytics.importer.records.ledger import UNMAPPED
from callytics.importer.source.mapping import TableMapping
from callytics.importer.source.reader import Source
from callytics.importer.target.catalogue import declared_columns
from callytics.postgres.sql import folded

# Columns that a message names.
MOST_NAMED = 6


@dataclass(frozen=True)
class Choice:
    """The columns that somebody has named: each as TABLE.COLUMN of a file, with ``*`` for any characters."""

    utc: Sequence[str] = ()
    local: Sequence[str] = ()

    @property
    def is_made(self) -> bool:
        """Tell whether any column is named."""
        return bool(self.utc or self.local)

    def of(self, name: str) -> Reading | None:
        """Return the reading that was chosen for a column; ``SourceError`` where two were."""
        found = [
            reading
            for reading, named in ((Reading.UTC, self.utc), (Reading.LOCAL, self.local))
            if any(_fits(name, pattern) for pattern in named)
        ]
        if len(found) > 1:
            raise SourceError(f"{name} is named with --utc and with --local: which of the two is it?")
        return found[0] if found else None

    def against(self, readings: Mapping[str, str]) -> Iterator[str]:
        """Yield the options, word by word, by which columns (TABLE.COLUMN) would be read otherwise than they are."""
        for name, reading in readings.items():
            if (chosen := self.of(name)) and chosen != reading:
                yield from (f"--{chosen}", name)

    def check(self, known: Iterable[str]) -> None:
        """Raise ``SourceError`` if a name fits none of the known columns of times, or a column is named as both."""
        names = sorted(set(known))
        for name in names:
            self.of(name)
        for pattern in (*self.utc, *self.local):
            if not any(_fits(name, pattern) for name in names):
                more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
                there = f"there are {', '.join(names[:MOST_NAMED])}{more}" if names else "there is none"
                raise SourceError(f"{pattern} is no column of times in the files (TABLE.COLUMN): {there}")


# Nobody has named any.
AS_DECLARED = Choice()


def time_columns(table_mapping: TableMapping) -> list[str]:
    """Return the columns of a table that become instants in this target, as the mapping spells them."""
    types = declared_columns().get(table_mapping.mapping.target, {})
    return [
        source
        for output, source in table_mapping.mapping.outputs.items()
        if types.get(output) == "timestamp with time zone" and source not in table_mapping.absent
    ]


def declared_readings(table_mapping: TableMapping) -> dict[str, str]:
    """Return how each column of times is read as its table declares it."""
    clocked = set(map(folded, table_mapping.table.clocked))
    return {
        column: Reading.SQLITE if folded(column) in clocked else Reading.LOCAL for column in time_columns(table_mapping)
    }


def chosen_readings(table_mapping: TableMapping, before: Mapping[str, str], choice: Choice) -> dict[str, str]:
    """Return the readings of a table with those that were chosen in place of the ones before."""
    table = table_mapping.table.name
    return {column: choice.of(f"{table}.{column}") or reading for column, reading in before.items()}


def time_names(source: Source) -> Iterator[str]:
    """Yield every column of times of a file as TABLE.COLUMN."""
    for name, table_mappings in source.table_mappings.items():
        yield from (f"{name}.{column}" for one in table_mappings for column in time_columns(one))


def _fits(name: str, pattern: str) -> bool:
    # The name itself first: a bracket in it is no pattern.
    return folded(name) == folded(pattern) or fnmatchcase(folded(name), folded(pattern))


def table_records(
    source: Source, choice: Choice = AS_DECLARED, counts: Mapping[str, int] | None = None
) -> Iterator[TableRecord]:
    """Yield a record for each source table and target, whose number and offsets are still to be given.

    ``counts`` are the rows of each table, which are counted otherwise. Raises ``SourceError`` where a record can't hold
    the name of a table.
    """
    refuse_beyond(source)
    counts = source.counts if counts is None else counts
    for table in source.tables:
        rows = counts[table.name]
        for mapped in source.table_mappings[table.name]:
            readings = chosen_readings(mapped, declared_readings(mapped), choice)
            target = mapped.mapping.target
            yield TableRecord(0, table.name, mapped.mapping.name, target, (), 0, {}, rows, None, readings)
        if unmapped := source.unmapped_columns(table):
            yield TableRecord(0, table.name, None, UNMAPPED, unmapped, 0, {}, rows, None)
