"""What is compared, table by table, what became of it, and where the changes go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from callytics.importer.convert.chunks import Chunk, Conversion
from callytics.importer.convert.rows import RefusedRow
from callytics.importer.records.entries import TableRecord
from callytics.importer.source.mapping import SourceTable
from callytics.importer.source.reader import RowRange, Source
from callytics.importer.target.comparing.findings import Clash
from callytics.postgres.bulk.arrow import all_true

# As many are listed of a table; all are counted.
MOST_CLASHES = 100
# A table whose ids have more gaps than that is described by its first and last id.
MOST_RANGES = 10_000


@dataclass(frozen=True)
class Side:
    """A source table in one of the two snapshots."""

    source: Source
    table: SourceTable


@dataclass(frozen=True)
class MappedPair:
    """A row of ``imports.tables`` that is mapped, with its table as it was (None: new) and as it is (None: gone)."""

    record: TableRecord
    base: Conversion | None
    theirs: Conversion | None
    # How many row numbers differ, where both hold only such rows.
    differing: int | None = None

    @property
    def conversion(self) -> Conversion:
        """How its rows become the target's, now or before."""
        return next(conversion for conversion in (self.theirs, self.base) if conversion)

    @property
    def sides(self) -> list[Side]:
        """The table as it was and as it is, as far as it exists."""
        return [Side(one.source, one.table_mapping.table) for one in (self.base, self.theirs) if one]

    @property
    def in_order(self) -> bool:
        """Whether both sides number their rows by the key, so that a row range is a range of keys."""
        return all(one.source.key_is_rowid(one.table_mapping) for one in (self.base, self.theirs) if one)

    @property
    def partial(self) -> bool:
        """Whether both sides hold only the rows that differ."""
        return self.differing is not None

    @property
    def references(self) -> dict[str, str]:
        """The source table that each column refers to, as it is now; empty if the table is gone."""
        return self.theirs.table_mapping.mapping.references if self.theirs else {}

    @property
    def gives_ids(self) -> bool:
        """Whether the table has ids of its own, rather than those of its parent."""
        return self.conversion.key not in self.conversion.table_mapping.mapping.references

    def written(self) -> MappedPair:
        """Return the pair after a sync: the table as it was is the table as it is."""
        return replace(self, base=self.theirs)


@dataclass(frozen=True)
class UnmappedPair:
    """A row of ``imports.tables`` without a mapping, with its table as it was (None: new) and as it is (None: gone)."""

    record: TableRecord
    base: Side | None
    theirs: Side | None
    differing: int | None = None
    # Its rows are identified by their numbers, never by a key.
    in_order = True

    @property
    def sides(self) -> list[Side]:
        """The table as it was and as it is, as far as it exists."""
        return [side for side in (self.base, self.theirs) if side]

    @property
    def partial(self) -> bool:
        """Whether both sides hold only the rows that differ."""
        return self.differing is not None

    def written(self) -> UnmappedPair:
        """Return the pair after a sync: the table as it was is the table as it is."""
        return replace(self, base=self.theirs)


Pair = MappedPair | UnmappedPair


@dataclass
class Found:
    """What became of one table of a file."""

    pair: Pair
    rows: int = 0
    copied: int = 0
    normalised: int = 0
    # Rows that PostgreSQL refused before and that are tried again.
    retried: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    rejected: int = 0
    # Rows that are there already, brought by another import.
    shared: int = 0
    # Rows that stay, since another import shares them: they are its own now.
    handed_over: int = 0
    # Changes of imports.rejected and imports.shared.
    rejections: int = 0
    normalisations: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], int] = field(default_factory=dict)
    # The row numbers, theirs and the base's, between which something changed.
    changed: list[tuple[RowRange, RowRange]] = field(default_factory=list)
    # The first of them.
    clashes: list[Clash] = field(default_factory=list)
    clashed: int = 0
    # Clashes in which neither side can be taken.
    unsolvable: int = 0
    ranges: list[list[int]] = field(default_factory=list)
    # The smallest and the largest row number.
    rowids: list[int] = field(default_factory=list)
    # The same of the rows as they were, where only those that differ are looked at: what they counted for until now.
    before: Found | None = None

    @property
    def changes(self) -> int:
        """Rows of which the table or the records were, or would be, changed."""
        return self.inserted + self.updated + self.deleted + self.rejections + self.handed_over

    def clash(self, table: str, key: int, columns: Sequence[str], finding: str, *, final: bool = False) -> None:
        """Count a row that was changed in PostgreSQL, and keep it if it is among the first."""
        self.clashed += 1
        self.unsolvable += final
        if len(self.clashes) < MOST_CLASHES:
            self.clashes.append(Clash(table, key, tuple(columns), finding))

    def count(self, chunk: Chunk) -> None:
        """Take a converted chunk into the figures."""
        self.rows += chunk.row_count
        self.copied += chunk.clean.num_rows
        self.normalised += len(chunk.rows)
        self.rejected += len(chunk.refused)
        ends = pc.min_max(chunk.clean["source_rowid"]).as_py()
        single = [*(row.rowid for row in chunk.rows), *(row.rowid for row in chunk.refused)]
        self.span([number for number in (*ends.values(), *single) if number is not None])
        for row in chunk.rows:
            self.normalisations.update(row.normalisations)
            for normalisation in row.normalisations:
                self.examples.setdefault(normalisation, row.rowid)

    def span(self, numbers: Sequence[int]) -> None:
        """Take row numbers into the first and the last one."""
        if numbers:
            self.rowids = [min([*self.rowids, *numbers]), max([*self.rowids, *numbers])]

    def take_back(self, chunk: Chunk, *, was_there: bool, shared: bool) -> None:
        """Count a row, converted again, as rejected or shared after all: PostgreSQL did not take it."""
        self.shared, self.rejected = self.shared + shared, self.rejected + (not shared)
        self.copied -= chunk.clean.num_rows
        self.normalised -= len(chunk.rows)
        for row in chunk.rows:
            self.normalisations.subtract(row.normalisations)
        if was_there:
            self.updated, self.deleted = self.updated - 1, self.deleted + 1
        else:
            self.inserted -= 1

    def add_ids(self, keys: pa.Array) -> None:
        """Take ids, in order, into the ranges."""
        # Ids mostly follow one another: a few ranges take the place of millions of numbers.
        if not len(keys) or len(self.ranges) > MOST_RANGES:
            return
        steps = pc.equal(pc.subtract(keys[1:], keys[:-1]), 1)
        ends = [index for index, follows in enumerate(steps.to_pylist()) if not follows] if not all_true(steps) else []
        starts = [0, *(end + 1 for end in ends)]
        for start, end in zip(starts, [*ends, len(keys) - 1], strict=True):
            first, last = keys[start].as_py(), keys[end].as_py()
            if self.ranges and self.ranges[-1][1] + 1 == first:
                self.ranges[-1][1] = last
            else:
                self.ranges.append([first, last])


class Sink(Protocol):
    """Where changes go as they are found. Called from several threads."""

    def put(self, pair: MappedPair, rows: pa.Table, present: bool) -> None:
        """Take rows that are to be inserted, or that are `present` and to be updated."""

    def delete(self, pair: MappedPair, keys: pa.Array) -> None:
        """Take the keys of rows that are to be deleted."""

    def reject(self, pair: MappedPair, outdated: Sequence[int], refused: Sequence[RefusedRow]) -> None:
        """Take the numbers of rows that are no longer rejected as they were, and rows that are."""

    def keep_unmapped(self, pair: UnmappedPair, outdated: Sequence[int], rows: Sequence[tuple[int, str]]) -> None:
        """Take the numbers of unmapped rows that are gone, and unmapped rows that are new or another."""


class Nowhere:
    """Where changes go that are only counted."""

    def put(self, pair: MappedPair, rows: pa.Table, present: bool) -> None:
        """Leave it."""

    def delete(self, pair: MappedPair, keys: pa.Array) -> None:
        """Leave it."""

    def reject(self, pair: MappedPair, outdated: Sequence[int], refused: Sequence[RefusedRow]) -> None:
        """Leave it."""

    def keep_unmapped(self, pair: UnmappedPair, outdated: Sequence[int], rows: Sequence[tuple[int, str]]) -> None:
        """Leave it."""
