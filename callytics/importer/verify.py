"""Verify: every value of the snapshot against what PostgreSQL holds, in key order, chunk by chunk.

What is expected comes from the same mappings and rules as the load; what is compared is read back from the tables.
Doubles are compared by their bits, jsonb as JSON, everything else as it is. Findings name rows and columns, never
contents: those are somebody's words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pyarrow.compute as pc

from callytics.importer.convert import Chunk, Converter, Plan, RefusedRow, rows_table
from callytics.importer.ledger import UNMAPPED, KeptRow, Ledger, TableRecord
from callytics.importer.load import Progress, import_arrow_connection, import_connection
from callytics.importer.mapping import quote
from callytics.importer.source import Source, SourceTable, read_rows, rowid_chunks
from callytics.importer.values import encode_row, parse_json
from callytics.settings import Settings

EXAMPLES = 5


@dataclass(frozen=True)
class Difference:
    """A row that is not what it should be: `column` is None where the row is missing."""

    table: str
    key: int
    column: str | None
    finding: str


@dataclass
class Verification:
    """What verification found of one table; at most `EXAMPLES` differences are kept, all are counted."""

    rows: int = 0
    different: int = 0
    examples: list[Difference] = field(default_factory=list)

    def add(self, table: str, keys: list[int], column: str | None, finding: str) -> None:
        """Count rows that differ."""
        self.different += len(keys)
        room = EXAMPLES - len(self.examples)
        self.examples += [Difference(table, key, column, finding) for key in keys[:room]]


class Verifier:
    """Compares tables of one run; holds two connections, so that each thread has a verifier of its own."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.connection = import_connection(settings)
        self.arrow: adbc_driver_postgresql.dbapi.Connection = import_arrow_connection(settings)
        self.ledger = Ledger(self.connection)
        self.progress = progress

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.arrow.close()
        self.connection.close()

    def verify(self, record: TableRecord, plan: Plan) -> Verification:
        """Compare a mapped table: loaded rows with the target, rejected rows with `imports.rejected`."""
        found = Verification()
        with Converter(plan) as converter:
            for bounds in self._chunks(converter.sqlite, plan.source, plan.bound.table, record):
                chunk = converter.chunk(bounds)
                kept = self.ledger.rejected(record.id, bounds)
                self._verify_rejected(record, converter, chunk, kept, found)
                self._verify_loaded(record, plan, expected_rows(chunk, plan, kept), found)
                found.rows += chunk.row_count
        return self._closed(record, found)

    def verify_kept(self, record: TableRecord, source: Source, table: SourceTable) -> Verification:
        """Compare unmapped rows and columns with `imports.unmapped`."""
        found = Verification()
        connection = source.connect()
        try:
            for bounds in self._chunks(connection, source, table, record):
                kept = self.ledger.unmapped(record.id, bounds)
                for rowid, values in read_rows(connection, table, record.unmapped_columns, bounds):
                    found.rows += 1
                    if not same_json(kept.get(rowid), encode_row(values)):
                        found.add(UNMAPPED, [rowid], None, "is missing or differs")
        finally:
            connection.close()
        return self._closed(record, found)

    def _chunks(
        self, connection: Any, source: Source, table: SourceTable, record: TableRecord
    ) -> Iterator[tuple[int, int]]:
        done = 0
        for chunk in rowid_chunks(connection, table, source.chunk_rows):
            self.progress(f"verify {record.source_table}", done, record.source_rows)
            yield chunk
            done = min(done + source.chunk_rows, record.source_rows)
        self.progress(f"verify {record.source_table}", record.source_rows, record.source_rows)

    def _closed(self, record: TableRecord, found: Verification) -> Verification:
        """Check that every row was accounted for, and write the result down."""
        loaded, rejected = self.ledger.counts(record.id)
        if not found.rows == loaded + rejected == record.source_rows:
            self._unaccounted(record, found, loaded, rejected)
        self._verify_kept_aside(record, found, rejected)
        self.ledger.verified_table(record.id, found.rows, found.different)
        self.connection.commit()
        return found

    def _verify_kept_aside(self, record: TableRecord, found: Verification, rejected: int) -> None:
        """No more rows are kept aside than were put there; a difference that is known already is not counted twice."""
        unmapped = 0 if record.mapping else record.source_rows
        for table, expected, actual in zip(
            ("imports.rejected", UNMAPPED), (rejected, unmapped), self.ledger.kept_aside(record.id), strict=True
        ):
            if actual != expected and not found.different:
                found.add(table, [0], None, f"{actual} rows of {record.source_table} instead of {expected}")

    def _unaccounted(self, record: TableRecord, found: Verification, loaded: int, rejected: int) -> None:
        finding = (
            f"{record.source_rows} rows in the source, {found.rows} verified, {loaded} loaded, {rejected} rejected"
        )
        found.add(record.target_table, [0], None, finding)

    def _verify_rejected(
        self,
        record: TableRecord,
        converter: Converter,
        chunk: Chunk,
        kept: dict[int, KeptRow],
        found: Verification,
    ) -> None:
        """Every refused row is kept aside, and every row kept aside is there whole."""
        refused = {row.rowid: row for row in chunk.refused}
        found.add("imports.rejected", [rowid for rowid in refused if rowid not in kept], None, "is missing")
        for rowid, row in kept.items():
            if not self._same_as_refused(converter, rowid, row, refused.get(rowid)):
                found.add("imports.rejected", [rowid], None, "differs")

    def _same_as_refused(self, converter: Converter, rowid: int, kept: KeptRow, refused: RefusedRow | None) -> bool:
        """Compare a row kept aside with the source's; one that only PostgreSQL refused has no column and no value."""
        try:
            row = encode_row(converter.source_values(rowid), refused.column if refused else None)
        except LookupError:
            return False
        value = (refused.column, refused.storage_class, refused.raw) if refused else (None, None, None)
        return value == (kept.column, kept.storage_class, kept.raw) and same_json(kept.row, row)

    def _verify_loaded(self, record: TableRecord, plan: Plan, expected: pa.Table, found: Verification) -> None:
        if not expected.num_rows:
            return
        keys = expected[plan.key]
        actual = self._read(plan, keys[0].as_py(), keys[-1].as_py())
        actual = actual.filter(pc.is_in(actual[plan.key], keys.combine_chunks()))
        here = pc.is_in(keys, actual[plan.key].combine_chunks())
        found.add(record.target_table, keys.filter(pc.invert(here)).to_pylist(), None, "is missing")
        self._compare(record, plan, expected.filter(here), actual, found)

    def _compare(
        self, record: TableRecord, plan: Plan, expected: pa.Table, actual: pa.Table, found: Verification
    ) -> None:
        keys = expected[plan.key].combine_chunks()
        if not keys.equals(actual[plan.key].combine_chunks()):
            found.add(record.target_table, keys[:1].to_pylist(), plan.key, "is there more than once")
            return
        for column, kind in plan.columns.items():
            same = same_values(expected[column].combine_chunks(), actual[column].combine_chunks(), kind)
            if same is not None:
                found.add(record.target_table, keys.filter(pc.invert(same)).to_pylist(), column, "differs")

    def _read(self, plan: Plan, first: int, last: int) -> pa.Table:
        columns = ", ".join(map(quote, plan.columns))
        key = quote(plan.key)
        query = (
            f"select {columns} from public.{quote(plan.target)} where {key} between {first} and {last} order by {key}"
        )
        with self.arrow.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetch_arrow_table()


def expected_rows(chunk: Chunk, plan: Plan, kept: dict[int, KeptRow]) -> pa.Table:
    """Return the rows of a chunk that must be in the target, in key order: all but those kept aside."""
    rows = chunk.clean
    if chunk.rows:
        rows = pa.concat_tables([rows, rows_table(chunk.rows, plan.columns)])
    if kept:
        rows = rows.filter(pc.invert(pc.is_in(rows["source_rowid"], pa.array(list(kept), pa.int64()))))
    return rows.sort_by(plan.key)


def same_values(expected: pa.Array, actual: pa.Array, kind: str) -> pa.Array | None:
    """Return which values are the same, None when all are."""
    if kind == "jsonb":
        return _same_one_by_one(expected, actual.storage, same_json)
    if kind.endswith("[]"):
        return None if expected.equals(actual) else _same_one_by_one(expected, actual, lambda a, b: repr(a) == repr(b))
    if kind == "double precision":
        expected, actual = expected.view(pa.int64()), actual.view(pa.int64())
    if expected.equals(actual):
        return None
    both_null = pc.and_(expected.is_null(), actual.is_null())
    return pc.or_(both_null, pc.fill_null(pc.equal(expected, actual), False))


def _same_one_by_one(expected: pa.Array, actual: pa.Array, same: Any) -> pa.Array | None:
    pairs = zip(expected.to_pylist(), actual.to_pylist(), strict=True)
    mask = [same(one, other) for one, other in pairs]
    return None if all(mask) else pa.array(mask, pa.bool_())


def same_json(one: str | None, other: str | None) -> bool:
    """Tell whether two JSON texts mean the same."""
    if one is None or other is None:
        return one is other
    return one == other or bool(_parsed(one) == _parsed(other))


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return json.loads(text)
