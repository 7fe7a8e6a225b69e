"""A chunk of a source table as target rows: what load writes, verify expects and inspect counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from functools import cached_property
from typing import Any

import adbc_driver_sqlite.dbapi
import pyarrow as pa
import pyarrow.compute as pc

from callytics.importer.convert.columns import ARROW_TYPES, convert_column
from callytics.importer.convert.rows import OWN_TIMES, ConvertedRow, RefusedRow
from callytics.importer.convert.values import ARRAY_LENGTH, LARGEST_BIGINT, Unfit, convert
from callytics.importer.convert.zones import BY_SQLITE, Zones, reading_of, zones_of
from callytics.importer.records.entries import NOTHING, Erased
from callytics.importer.source.mapping import TableMapping
from callytics.importer.source.reader import Source, count_rows, no_rows, read_clean, read_dirty, row_numbers
from callytics.importer.source.trouble import reading, reading_arrow
from callytics.postgres.bulk.arrow import all_true, one_array
from callytics.postgres.sql import sqlite_name


@dataclass(frozen=True)
class Conversion:
    """A mapping of one file, with all that is needed to turn its rows into the target's."""

    source: Source
    table_mapping: TableMapping
    # The target's columns that can be written, with their types; those without a source are loaded as NULL.
    columns: dict[str, str]
    # What is added to the ids in a target column, where it is not 0.
    offsets: dict[str, int] = field(default_factory=dict)
    # The zone of local times, and which source columns hold others, by `Reading`; None: all are local.
    zone: tzinfo = UTC
    readings: Mapping[str, str] | None = None
    # What is to be as if the file did not have it.
    erased: Erased = NOTHING

    @property
    def target(self) -> str:
        """Return the name of the target table."""
        return self.table_mapping.mapping.target

    @property
    def key(self) -> str:
        """Return the target's key column."""
        return self.table_mapping.mapping.key

    @cached_property
    def types(self) -> dict[str, str]:
        """The type of each output of the mapping: an array's element for `"name[3]"`."""
        return {
            output: self.columns[array_name(output)].removesuffix("[]") for output in self.table_mapping.mapping.outputs
        }

    @property
    def same_by(self) -> tuple[str, ...]:
        """Return the columns by which a row is known to be in the target already; none for most tables."""
        return self.table_mapping.mapping.same_by

    @cached_property
    def compared_columns(self) -> list[str]:
        """The columns in which a row must equal the one that is there: all that the file has, but for its own."""
        absent, outputs = set(self.table_mapping.absent), self.table_mapping.mapping.outputs
        present = {array_name(output) for output, source in outputs.items() if source not in absent}
        return [name for name in self.columns if name in present - {self.key, *OWN_TIMES}]

    @property
    def uncomputed(self) -> dict[str, str]:
        """Return the columns whose values only the application can compute, each with why."""
        return self.table_mapping.uncomputed

    @cached_property
    def zones(self) -> dict[str, Zones]:
        """The zones of the times of each output of the mapping."""
        return {
            output: zones_of(reading_of(self.readings, source), self.zone)
            for output, source in self.table_mapping.mapping.outputs.items()
        }

    @cached_property
    def duplicates(self) -> frozenset[int]:
        """Return the row numbers whose id an earlier row has; computed once, as it groups the whole table."""
        return self.source.duplicate_ids(self.table_mapping)


@dataclass(frozen=True)
class Chunk:
    """Source rows `first` to `last`, converted. `clean` has `source_rowid` and every column of the target.

    The rows that were `erased` are counted, and are in none of the others.
    """

    first: int
    last: int
    clean: pa.Table
    rows: list[ConvertedRow]
    refused: list[RefusedRow]
    erased: int = 0

    @property
    def row_count(self) -> int:
        """Return the number of source rows: those loaded and those refused, without erased ones."""
        return int(self.clean.num_rows) + len(self.rows) + len(self.refused)

    def without(self, erased: Erased, conversion: Conversion) -> Chunk:
        """Return the chunk as if its file had never had what was erased."""
        key, kinds = conversion.key, conversion.columns
        rows = [
            replace(row, values=erased.of_values(row.values, key, kinds))
            for row in self.rows
            if not erased.is_gone(row.rowid, row.values, key)
        ]
        refused = [row for row in self.refused if row.rowid not in erased.numbers]
        left = Chunk(self.first, self.last, erased.of_clean(self.clean, key, kinds), rows, refused)
        return replace(left, erased=self.row_count - left.row_count)


def array_name(output: str) -> str:
    """Return the target column of an output: `mfcc` of `mfcc[3]`."""
    match = ARRAY_LENGTH.match(output)
    return match["name"] if match else output


class Converter:
    """Reads and converts chunks of one table; holds its own connections, so that each thread has one of its own."""

    def __init__(self, conversion: Conversion) -> None:
        self.conversion, source = conversion, conversion.source
        self._stack = ExitStack()
        # Last to leave, so that it says what was wrong with the snapshot in the block, too.
        self._stack.enter_context(reading(source.path))
        with self._stack, reading_arrow(source.path):
            self.sqlite: sqlite3.Connection = self._stack.enter_context(closing(source.connect()))
            self._arrow: adbc_driver_sqlite.dbapi.Connection = self._stack.enter_context(
                closing(source.connect_arrow())
            )
            # Both are open: from here on they are closed by whoever uses this.
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Converter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def chunk(self, chunk: tuple[int, int]) -> Chunk:
        """Convert the rows numbered from `chunk[0]` to `chunk[1]`, but for those that were erased."""
        whole, erased = self._whole(chunk), self.conversion.erased
        return whole.without(erased, self.conversion) if erased else whole

    def _whole(self, chunk: tuple[int, int]) -> Chunk:
        conversion = self.conversion
        fast = conversion.source.takes_fast_path(conversion.table_mapping.table)
        read = self._read_clean(chunk) if fast else no_rows(conversion.types)
        clean, dirty = self._clean(read)
        if not fast:
            dirty = row_numbers(self.sqlite, conversion.table_mapping.table, chunk)
        rows: list[ConvertedRow] = []
        refused: list[RefusedRow] = []
        # Where all rows of the chunk came by the fast path, there is none to look for.
        if not dirty and self._is_all(read.num_rows, chunk):
            return Chunk(chunk[0], chunk[1], clean, rows, refused)
        for rowid, values in read_dirty(self.sqlite, conversion.table_mapping, conversion.types, chunk, dirty):
            converted = self._row(rowid, values)
            (rows if isinstance(converted, ConvertedRow) else refused).append(converted)  # type: ignore[arg-type]
        return Chunk(chunk[0], chunk[1], clean, rows, refused)

    def _is_all(self, rows: int, chunk: tuple[int, int]) -> bool:
        # Nearly always there are no gaps between the row numbers, and no need to count.
        numbers = chunk[1] - chunk[0] + 1
        return rows == numbers or rows == count_rows(self.sqlite, self.conversion.table_mapping.table, chunk)

    def _read_clean(self, chunk: tuple[int, int]) -> pa.Table:
        conversion = self.conversion
        return read_clean(self._arrow, conversion.source.path, conversion.table_mapping, conversion.types, chunk)

    def as_rows(self, clean: pa.Table) -> Iterator[ConvertedRow]:
        """Turn rows of the fast path into rows that go one by one, for when a constraint refused their chunk."""
        for values in clean.to_pylist():
            yield ConvertedRow(values.pop("source_rowid"), values, ())

    def source_values(self, rowid: int) -> dict[str, Any]:
        """Return one source row, by source column, as SQLite holds it; `LookupError` where there is none."""
        outputs = ", ".join(map(sqlite_name, self.conversion.types))
        mapped = self.conversion.table_mapping
        # Through the mapping again, since a column may be absent in this file.
        query = f"{mapped.relation(mapped.table.between((rowid, rowid)))} select {outputs} from mapped"
        values = self.sqlite.execute(query).fetchone()
        if values is None:
            raise LookupError(rowid)
        return self._by_source_column(dict(zip(self.conversion.types, values, strict=True)))

    def _by_source_column(self, values: dict[str, Any]) -> dict[str, Any]:
        table_mapping = self.conversion.table_mapping
        return {
            source: values[output]
            for output, source in table_mapping.mapping.outputs.items()
            if source not in table_mapping.absent
        }

    def _clean(self, table: pa.Table) -> tuple[pa.Table, list[int]]:
        """Convert the fast columns; returns the rows that are fine and the numbers of the others."""
        table = table.combine_chunks()
        fine = pa.repeat(True, table.num_rows)
        if self.conversion.duplicates:
            fine = pc.invert(pc.is_in(table["source_rowid"], pa.array(sorted(self.conversion.duplicates), pa.int64())))
        columns: dict[str, pa.Array] = {}
        for output, target in self.conversion.types.items():
            columns[output], good = _convert_in(one_array(table[output]), target, self.conversion.zones[output])
            fine = pc.and_(fine, good)
        converted = self._assemble(table["source_rowid"], columns)
        if all_true(fine):
            return converted, []
        return converted.filter(fine), table["source_rowid"].filter(pc.invert(fine)).to_pylist()

    def _assemble(self, rowids: pa.Array, outputs: dict[str, pa.Array]) -> pa.Table:
        columns = {"source_rowid": one_array(rowids)}
        for name, target in self.conversion.columns.items():
            if name in outputs:
                columns[name] = _shift(outputs[name], self.conversion.offsets.get(name, 0))
            elif f"{name}[1]" in outputs:
                columns[name] = _interleave([outputs[output] for output in outputs if array_name(output) == name])
            else:
                columns[name] = pa.nulls(len(rowids), ARROW_TYPES[target])
        return pa.table(columns)

    def _row(self, rowid: int, values: dict[str, Any]) -> ConvertedRow | RefusedRow:
        outputs: dict[str, Any] = {}
        normalisations: list[tuple[str, str]] = []
        for output, value in values.items():
            source = self.conversion.table_mapping.mapping.outputs[output]
            try:
                outputs[output] = self._value(output, value, source, normalisations)
            except Unfit as reason:
                return RefusedRow(rowid, source, str(reason), self._by_source_column(values))
        if rowid in self.conversion.duplicates:
            key = self.conversion.table_mapping.mapping.outputs[self.conversion.key]
            return RefusedRow(rowid, key, "an earlier row has the same id", self._by_source_column(values))
        return ConvertedRow(rowid, self._assemble_row(outputs), tuple(normalisations))

    def _value(self, output: str, value: Any, source: str, normalisations: list[tuple[str, str]]) -> Any:
        converted = convert(value, self.conversion.types[output], self.conversion.zones[output].of(value))
        if converted.normalisation:
            normalisations.append((source, converted.normalisation))
        offset = self.conversion.offsets.get(output, 0)
        if not offset or converted.value is None:
            return converted.value
        if converted.value + offset > LARGEST_BIGINT:
            raise Unfit(f"id is beyond bigint once moved by {offset}")
        return converted.value + offset

    def _assemble_row(self, outputs: dict[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, target in self.conversion.columns.items():
            if target.endswith("[]"):
                elements = [value for output, value in outputs.items() if array_name(output) == name]
                row[name] = None if all(value is None for value in elements) else elements
            else:
                row[name] = outputs.get(name)
        return row


def _convert_in(column: pa.Array, target: str, zones: Zones) -> tuple[pa.Array, pa.Array]:
    """Convert a column as `convert_column` does, each value in the zone that its form tells."""
    if zones.by_sqlite == zones.by_others or target != "timestamp with time zone":
        return convert_column(column, target, zones.by_others)
    # As bytes: Arrow's text kernels may fail on what is not UTF-8.
    plain = pc.fill_null(pc.match_substring_regex(column.cast(pa.binary()), BY_SQLITE), True)
    if all_true(plain):
        return convert_column(column, target, zones.by_sqlite)
    first, first_fine = convert_column(pc.if_else(plain, column, None), target, zones.by_sqlite)
    other, other_fine = convert_column(pc.if_else(plain, None, column), target, zones.by_others)
    return pc.coalesce(first, other), pc.and_(first_fine, other_fine)


def rows_table(rows: list[ConvertedRow], columns: dict[str, str]) -> pa.Table:
    """Return rows in the form of `Chunk.clean`."""
    arrays: dict[str, pa.Array] = {"source_rowid": pa.array([row.rowid for row in rows], pa.int64())}
    for name, target in columns.items():
        arrays[name] = pa.array([row.values[name] for row in rows], ARROW_TYPES[target])
    return pa.table(arrays)


def _shift(column: pa.Array, offset: int) -> pa.Array:
    return pc.add(column, offset) if offset else column


def _interleave(elements: list[pa.Array]) -> pa.Array:
    """Make one list column of n columns: a row of nothing but NULLs is NULL."""
    rows, width = len(elements[0]), len(elements)
    # From all first elements, all second ones, … to row after row.
    order = pa.array([element * rows + row for row in range(rows) for element in range(width)], pa.int64())
    offsets = pa.array(range(0, rows * width + 1, width), pa.int32())
    empty = elements[0].is_null()
    for element in elements[1:]:
        empty = pc.and_(empty, element.is_null())
    return pa.ListArray.from_arrays(offsets, pa.concat_arrays(elements).take(order), mask=empty)
