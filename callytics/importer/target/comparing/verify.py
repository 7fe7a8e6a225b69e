"""Verify: every value of the snapshot against what PostgreSQL holds, in key order, chunk by chunk.

What is expected comes from the same mappings and rules as the load; what is compared is read back from the tables.
Doubles are compared by their bits, jsonb as JSON, everything else as it is. Findings name rows and columns, never
contents: those are somebody's words.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2.extensions import connection as Connection

from callytics.importer.convert.chunks import Chunk, Conversion, Converter, rows_table
from callytics.importer.convert.rows import RefusedRow, encode_row
from callytics.importer.options import Progress
from callytics.importer.records.entries import KeptRow, TableRecord
from callytics.importer.records.ledger import UNMAPPED, Ledger
from callytics.importer.source.mapping import SourceTable
from callytics.importer.source.reader import EVERYTHING, RowRange, Source, read_rows, rowid_chunks
from callytics.importer.target.catalogue import key_range, read_back
from callytics.importer.target.comparing.findings import Difference, same_json, same_values
from callytics.postgres.text import counted

EXAMPLES = 5


@dataclass
class Verification:
    """What verification found of one table; at most `EXAMPLES` differences are kept, all are counted."""

    rows: int = 0
    different: int = 0
    erased: int = 0
    examples: list[Difference] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, parts: Sequence[Verification]) -> Verification:
        """Add up what was found of a table's pieces."""
        examples = [example for part in parts for example in part.examples]
        return cls(
            sum(part.rows for part in parts),
            sum(part.different for part in parts),
            sum(part.erased for part in parts),
            examples[:EXAMPLES],
            min(part.began for part in parts),
        )

    def add(self, table: str, keys: list[int], column: str | None, finding: str) -> None:
        """Count rows that differ."""
        self.different += len(keys)
        room = EXAMPLES - len(self.examples)
        # A whole table may differ: as many are kept as somebody would read.
        self.examples += [Difference(table, key, column, finding) for key in keys[:room]]


class Verifier:
    """Compares tables of one run over two connections that are its own while it works.

    `advance` is told of every chunk: what is done, its rows, and the rows of the whole table.
    """

    def __init__(
        self, connection: Connection, arrow: adbc_driver_postgresql.dbapi.Connection, advance: Progress
    ) -> None:
        self.connection, self.arrow, self.advance = connection, arrow, advance
        self.ledger = Ledger(connection)

    def verify(self, record: TableRecord, conversion: Conversion, piece: RowRange = EVERYTHING) -> Verification:
        """Compare a piece of a mapped table: loaded rows with the target, rejected rows with `imports.rejected`."""
        found = Verification()
        with Converter(conversion) as converter:
            for row_range in rowid_chunks(
                converter.sqlite,
                conversion.table_mapping.table,
                conversion.source.chunk_rows(conversion.table_mapping.table),
                piece,
            ):
                chunk = converter.chunk(row_range)
                kept = self.ledger.kept(record.id, row_range)
                self._verify_kept(converter, chunk, kept, found)
                self._verify_shared(conversion, chunk, kept, found)
                self._verify_loaded(record, conversion, expected_rows(chunk, conversion, kept), found)
                found.erased += chunk.erased
                self._advance(record, found, chunk.row_count)
        return found

    def verify_kept(self, record: TableRecord, source: Source, table: SourceTable) -> Verification:
        """Compare unmapped rows and columns with `imports.unmapped`."""
        found = Verification()
        with source.opened() as connection:
            for row_range in rowid_chunks(connection, table, source.chunk_rows(table)):
                kept = self.ledger.unmapped(record.id, row_range)
                rows = 0
                for rowid, values in read_rows(connection, table, record.unmapped_columns, row_range):
                    if rowid in record.erased.numbers:
                        found.erased += 1
                        continue
                    rows += 1
                    if not same_json(kept.get(rowid), encode_row(values)):
                        found.add(UNMAPPED, [rowid], None, "is missing or differs")
                self._advance(record, found, rows)
        return found

    def _advance(self, record: TableRecord, found: Verification, rows: int) -> None:
        """Note that rows were compared, and let go of what was read."""
        found.rows += rows
        # An open transaction would keep VACUUM from removing anything for as long as the verification lasts.
        self.arrow.commit()
        self.connection.commit()
        self.advance(f"verify {record.label}", rows, record.source_rows)

    def conclude(self, record: TableRecord, parts: Sequence[Verification]) -> Verification:
        """Check that every row of a table was accounted for; returns what was found of all its pieces."""
        found = Verification.of(parts)
        loaded, rejected, shared = self.ledger.counts(record.id)
        if not found.rows == loaded + rejected + shared == record.source_rows - found.erased:
            self._unaccounted(record, found, loaded, rejected + shared)
        self._verify_numbers(record, found, (rejected, shared))
        return found

    def _verify_numbers(self, record: TableRecord, found: Verification, kept: tuple[int, int]) -> None:
        """No more rows are kept anywhere than were put there; a difference that is known already counts once."""
        (rejected, shared), unmapped = kept, 0 if record.mapping else record.source_rows - found.erased
        tables, entered = ("imports.rejected", UNMAPPED, "imports.shared"), (rejected, unmapped, shared)
        for table, expected, actual in zip(tables, entered, self.ledger.stored_counts(record.id), strict=True):
            if actual != expected and not found.different:
                found.add(
                    table, [0], None, f"{counted(actual, 'row')} of {record.source_table} instead of {expected:,}"
                )

    def _unaccounted(self, record: TableRecord, found: Verification, loaded: int, left: int) -> None:
        finding = (
            f"{counted(record.source_rows, 'row')} in the source, {found.rows:,} verified, {loaded:,} loaded, "
            f"{left:,} not loaded"
        )
        finding += f", {found.erased:,} erased" if found.erased else ""
        found.add(record.target_table, [0], None, finding)

    def _verify_kept(self, converter: Converter, chunk: Chunk, kept: dict[int, KeptRow], found: Verification) -> None:
        """Every refused row is in imports.rejected, and every row there or in imports.shared is whole."""
        refused = {row.rowid: row for row in chunk.refused}
        found.add("imports.rejected", [rowid for rowid in refused if rowid not in kept], None, "is missing")
        for rowid, row in kept.items():
            if not self._same_as_refused(converter, rowid, row, refused.get(rowid)):
                table = "imports.rejected" if row.shared is None else "imports.shared"
                found.add(table, [rowid], None, "differs")

    def _verify_shared(
        self, conversion: Conversion, chunk: Chunk, kept: dict[int, KeptRow], found: Verification
    ) -> None:
        """The row that is there in the place of a shared one is equal to it."""
        shared = {rowid: row.shared for rowid, row in kept.items() if row.shared is not None}
        if not shared:
            return
        rows = chunk_rows(chunk, conversion)
        rows = rows.filter(pc.is_in(rows["source_rowid"], pa.array(list(shared), pa.int64())))
        ids = pa.array([shared[rowid] for rowid in rows["source_rowid"].to_pylist()], pa.int64())
        actual = self._read(conversion, (min(shared.values()), max(shared.values())))
        # Several rows of a file may share one.
        place = pc.index_in(ids, actual[conversion.key].combine_chunks())
        found.add(conversion.target, ids.filter(place.is_null()).to_pylist(), None, "is missing")
        here = place.is_valid()
        rows, ids, actual = rows.filter(here), ids.filter(here), actual.take(place.drop_null())
        for column in conversion.compared_columns:
            expected, held = rows[column].combine_chunks(), actual[column].combine_chunks()
            same = same_values(expected, held, conversion.columns[column])
            if same is not None:
                found.add(conversion.target, ids.filter(pc.invert(same)).to_pylist(), column, "differs")

    def _same_as_refused(self, converter: Converter, rowid: int, kept: KeptRow, refused: RefusedRow | None) -> bool:
        """Compare a rejected row with the source's; one that only PostgreSQL refused has no column and no value."""
        try:
            row = encode_row(converter.source_values(rowid), refused.column if refused else None)
        except LookupError:
            return False
        value = (refused.column, refused.storage_class, refused.raw) if refused else (None, None, None)
        return value == (kept.column, kept.storage_class, kept.raw) and same_json(kept.row, row)

    def _verify_loaded(
        self, record: TableRecord, conversion: Conversion, expected: pa.Table, found: Verification
    ) -> None:
        if not expected.num_rows:
            return
        keys = expected[conversion.key]
        actual = self._read(conversion, (keys[0].as_py(), keys[-1].as_py()))
        if keys.equals(actual[conversion.key]):
            self._compare(record, conversion, expected, actual, found)
            return
        # The application may have rows of its own between the import's.
        actual = actual.filter(pc.is_in(actual[conversion.key], keys.combine_chunks()))
        here = pc.is_in(keys, actual[conversion.key].combine_chunks())
        found.add(record.target_table, keys.filter(pc.invert(here)).to_pylist(), None, "is missing")
        self._compare(record, conversion, expected.filter(here), actual, found)

    def _compare(
        self, record: TableRecord, conversion: Conversion, expected: pa.Table, actual: pa.Table, found: Verification
    ) -> None:
        keys = expected[conversion.key].combine_chunks()
        if not keys.equals(actual[conversion.key].combine_chunks()):
            found.add(record.target_table, keys[:1].to_pylist(), conversion.key, "is there more than once")
            return
        for column, kind in conversion.columns.items():
            same = same_values(expected[column].combine_chunks(), actual[column].combine_chunks(), kind)
            if same is not None:
                found.add(record.target_table, keys.filter(pc.invert(same)).to_pylist(), column, "differs")

    def _read(self, conversion: Conversion, ends: tuple[int, int]) -> pa.Table:
        return read_back(
            self.connection,
            self.arrow,
            conversion.target,
            conversion.key,
            conversion.columns,
            key_range(conversion.key, *ends),
        )


def chunk_rows(chunk: Chunk, conversion: Conversion) -> pa.Table:
    """Return every row of a chunk that the target can hold."""
    return pa.concat_tables([chunk.clean, rows_table(chunk.rows, conversion.columns)]) if chunk.rows else chunk.clean


def expected_rows(chunk: Chunk, conversion: Conversion, kept: dict[int, KeptRow]) -> pa.Table:
    """Return the rows of a chunk that must be in the target, in key order: all but those that were not loaded."""
    rows = chunk_rows(chunk, conversion)
    if kept:
        rows = rows.filter(pc.invert(pc.is_in(rows["source_rowid"], pa.array(list(kept), pa.int64()))))
    return rows if _in_order(rows[conversion.key]) else rows.sort_by(conversion.key)


def _in_order(keys: pa.ChunkedArray) -> bool:
    return pc.all(pc.less(keys[:-1], keys[1:])).as_py() is not False
