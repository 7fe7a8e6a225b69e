"""Changes: what differs between the content that a file had, the content that it has now, and PostgreSQL.

A row is compared three ways: `base` is what was imported, `theirs` what SQLite holds now, `ours` what PostgreSQL holds.
Where PostgreSQL still holds the base, theirs goes in; where it holds something else, somebody changed the row there,
and that is a clash. Findings name rows and columns, never contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import reduce

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2.extensions import connection as Connection

from callytics.exceptions import TargetError
from callytics.importer.convert.chunks import Chunk, Converter, rows_table
from callytics.importer.convert.rows import RefusedRow, encode_row
from callytics.importer.options import Progress
from callytics.importer.records.entries import KeptRow
from callytics.importer.records.ledger import Ledger
from callytics.importer.source.reader import EVERYTHING, LARGEST_ROWID, SMALLEST_ROWID, RowRange, next_chunk, read_rows
from callytics.importer.source.trouble import reading
from callytics.importer.target.catalogue import key_list, key_range, read_back
from callytics.importer.target.comparing.findings import same_json, same_values
from callytics.importer.target.comparing.found import Found, MappedPair, Pair, Side, Sink, UnmappedPair
from callytics.postgres.bulk.arrow import one_array
from callytics.postgres.sql import Composed, literal, sqlite_name

# Row ranges of the file, each with the row range of its base.
Ranges = Sequence[tuple[RowRange, RowRange]]
# Rows of a table are read as one range of ids while at most so many ids of it belong to one that is wanted.
SPARSE = 4


class Comparer:
    """Compares tables three ways over two connections that are its own while it works: each worker has one.

    Reads PostgreSQL as of the exported `snapshot`, or as it is now. `choice` says whose row is taken in a clash
    ("ours", "theirs", or None: neither, clashes are only listed). `retry` has rows that PostgreSQL refused tried again.
    `lenient` lets be what was changed or deleted in PostgreSQL alone.
    """

    def __init__(
        self,
        connection: Connection,
        arrow: adbc_driver_postgresql.dbapi.Connection,
        sink: Sink,
        progress: Progress,
        *,
        snapshot: str | None = None,
        choice: str | None = None,
        retry: bool = True,
        word: str = "compare",
        lenient: bool = False,
    ) -> None:
        self.connection, self.arrow = connection, arrow
        self.ledger = Ledger(connection)
        self.sink, self.progress, self.choice, self.retry, self.word = sink, progress, choice, retry, word
        self.lenient = lenient
        if snapshot:
            self._share(snapshot)

    def _share(self, snapshot: str) -> None:
        # All workers see one moment, or a row that moves between two tables would be seen twice or not at all.
        with self.arrow.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read")
            cursor.execute(f"set transaction snapshot {literal(snapshot)}")

    def compare(self, pair: Pair, ranges: Sequence[tuple[RowRange, RowRange]] | None = None) -> Found:
        """Find every change of a table, or those in `ranges` of row numbers (theirs, the base's)."""
        found = Found(pair, before=Found(pair) if pair.partial else None)
        if pair.differing == 0:
            return found
        compare = Mapped(self, pair, found) if isinstance(pair, MappedPair) else Unmapped(self, pair, found)
        with closing(compare), reading(*(side.source.path for side in pair.sides)):
            rows = max(1, pair.record.source_rows)
            for theirs, base in ranges if ranges is not None else _ranges(pair):
                self.progress(f"{self.word} {pair.record.source_table}", min(found.rows, rows), rows)
                compare.range(theirs, base)
        self.progress(f"{self.word} {pair.record.source_table}", rows, rows)
        return found


def _ranges(pair: Pair) -> Iterator[tuple[RowRange, RowRange]]:
    """Yield ranges of row numbers in which neither side has more than a chunk of rows, from the first to the last.

    A table that is not numbered by its key is one range: which rows belong together is known only by their keys.
    """
    if not pair.in_order:
        yield EVERYTHING, EVERYTHING
        return
    with ExitStack() as stack:
        sides = [(stack.enter_context(closing(side.source.connect())), side) for side in pair.sides]
        start = SMALLEST_ROWID
        while start <= LARGEST_ROWID:
            found = [
                next_chunk(connection, side.table, side.source.chunk_rows(side.table), (start, LARGEST_ROWID))
                for connection, side in sides
            ]
            chunks = [chunk for chunk in found if chunk]
            if not chunks:
                return
            row_range = min(first for first, _ in chunks), min(last for _, last in chunks)
            yield row_range, row_range
            # The smaller of the two ends, so that neither side's rows of the range are more than a chunk.
            start = row_range[1] + 1


class Unmapped:
    """The comparison of what is kept in imports.unmapped: only imports write there, so it follows SQLite."""

    def __init__(self, comparer: Comparer, pair: UnmappedPair, found: Found) -> None:
        self.comparer, self.pair, self.found = comparer, pair, found
        self.sqlite = pair.theirs.source.connect() if pair.theirs else None

    def close(self) -> None:
        """Close the snapshot."""
        if self.sqlite:
            self.sqlite.close()

    def range(self, theirs: RowRange, base: RowRange) -> None:
        """Compare the rows of a range."""
        record, found = self.pair.record, self.found
        kept = self._kept(theirs)
        rows: list[tuple[int, str]] = []
        if self.sqlite and self.pair.theirs:
            for rowid, values in read_rows(self.sqlite, self.pair.theirs.table, record.unmapped_columns, theirs):
                if rowid in record.erased.numbers:
                    continue
                found.rows += 1
                found.span([rowid])
                row, before = encode_row(values), kept.pop(rowid, None)
                if before is None or not same_json(before, row):
                    rows.append((rowid, row))
                    found.inserted, found.updated = (
                        found.inserted + (before is None),
                        found.updated + (before is not None),
                    )
        found.copied = found.rows
        # What is left was not found in the file.
        found.deleted += len(kept)
        if rows or kept:
            found.changed.append((theirs, base))
            self.comparer.sink.keep_unmapped(self.pair, list(kept), rows)

    def _kept(self, row_range: RowRange) -> dict[int, str]:
        """Return the rows of a range as they are kept; of those that differ, where the pair has no others."""
        record, ledger = self.pair.record, self.comparer.ledger
        if not self.pair.partial:
            return ledger.unmapped(record.id, row_range)
        numbers = {number for side in self.pair.sides for number in _numbers(side, row_range)}
        if self.found.before and self.pair.base:
            self.found.before.rows += len(_numbers(self.pair.base, row_range) - record.erased.numbers)
            self.found.before.copied = self.found.before.rows
        return ledger.unmapped_rows(record.id, sorted(numbers))


class Mapped:
    """The comparison of a table that has a home in the schema."""

    def __init__(self, comparer: Comparer, pair: MappedPair, found: Found) -> None:
        self.comparer, self.pair, self.found = comparer, pair, found
        self.conversion = pair.conversion
        self.stack = ExitStack()
        self.base, self.theirs = (
            self.stack.enter_context(Converter(conversion)) if conversion else None
            for conversion in (pair.base, pair.theirs)
        )

    def close(self) -> None:
        """Close both snapshots."""
        self.stack.close()

    def range(self, theirs: RowRange, base: RowRange) -> None:
        """Compare the rows of a range, and hand on what has changed."""
        found, ledger = self.found, self.comparer.ledger
        before = found.changes + found.clashed
        chunk = self.theirs.chunk(theirs) if self.theirs else None
        kept = ledger.kept(self.pair.record.id, base)
        if found.before:
            self._count_before(found.before, base, kept)
        expected = self._expected(chunk, kept)
        retried = self._reject(chunk, kept)
        if chunk:
            found.count(chunk)
        self._rows(expected, self._base_keys(base, kept), base, retried)
        if retried or found.changes + found.clashed != before:
            found.changed.append((theirs, base))

    def _count_before(self, before: Found, base: RowRange, kept: dict[int, KeptRow]) -> None:
        """Count the rows as they were: by the same rules, but for those that PostgreSQL refused."""
        assert self.base
        chunk = self.base.chunk(base)
        refused = {rowid for rowid, row in kept.items() if row.column is None} & self._numbers(chunk)
        clean = chunk.clean.filter(pc.invert(pc.is_in(chunk.clean["source_rowid"], pa.array(refused, pa.int64()))))
        rows = [row for row in chunk.rows if row.rowid not in refused]
        before.count(replace(chunk, clean=clean, rows=rows))
        before.rows, before.rejected = before.rows + len(refused), before.rejected + len(refused)

    def _expected(self, chunk: Chunk | None, kept: dict[int, KeptRow]) -> pa.Table:
        """Return the rows that PostgreSQL should hold, in key order."""
        if chunk is None:
            return rows_table([], self.conversion.columns)
        rows = chunk.clean
        if chunk.rows:
            rows = pa.concat_tables([rows, rows_table(chunk.rows, self.conversion.columns)])
        if kept and not self.comparer.retry:
            rows = rows.filter(pc.invert(pc.is_in(rows["source_rowid"], pa.array(list(kept), pa.int64()))))
        rows = rows.sort_by(self.conversion.key)
        self.found.add_ids(one_array(rows[self.conversion.key].drop_null()))
        return rows

    def _base_keys(self, base: RowRange, kept: dict[int, KeptRow]) -> pa.Array:
        """Return the keys of the rows that were loaded from a range of the base, in order."""
        if not self.base:
            return pa.array([], pa.int64())
        conversion = self.base.conversion
        key = sqlite_name(conversion.key)
        query = (
            f"{conversion.table_mapping.relation(conversion.table_mapping.table.between(base))}"
            # As the load stored it: a real 3.0 became 3.
            f"select source_rowid, cast({key} as integer) from mapped where {key} is not null"
        )
        offset = conversion.offsets.get(conversion.key, 0)
        erased = conversion.erased
        found = ((rowid, key + offset) for rowid, key in self.base.sqlite.execute(query) if rowid not in kept)
        keys = [key for rowid, key in found if key not in erased.ids and rowid not in erased.numbers]
        array = pa.array(keys, pa.int64())
        array = array.take(pc.sort_indices(array))
        if self.found.before:
            self.found.before.add_ids(array)
        return array

    def _reject(self, chunk: Chunk | None, kept: dict[int, KeptRow]) -> set[int]:
        """Hand on what is to be rejected; returns the rows that PostgreSQL refused before and may take now."""
        refused = {row.rowid: row for row in chunk.refused} if chunk else {}
        same = {rowid for rowid in refused if rowid in kept and self._same(refused[rowid], kept[rowid])}
        if not self.comparer.retry:
            untrue = [rowid for rowid in kept if rowid not in refused and not self._is_source(rowid, kept[rowid])]
            self.found.rejections += len(refused) - len(same) + len(untrue)
            return set()
        fine = self._numbers(chunk) & set(kept) if chunk and kept else set()
        # It was PostgreSQL that refused these: what stood in their way, or was equal to them, may be gone.
        retried = {rowid for rowid in fine if kept[rowid].column is None and self._is_still(rowid, kept[rowid])}
        outdated = [rowid for rowid in kept if rowid not in same and rowid not in retried]
        new = [refused[rowid] for rowid in refused if rowid not in same]
        if outdated or new:
            self.found.rejections += len(new) + sum(rowid not in refused for rowid in outdated)
            self.comparer.sink.reject(self.pair, outdated, new)
        return retried

    def _is_still(self, rowid: int, kept: KeptRow) -> bool:
        """Tell whether a number means the row that was refused: without a key that numbers them, rows move up."""
        return self.pair.in_order or self._is_source(rowid, kept)

    def _numbers(self, chunk: Chunk) -> set[int]:
        return {*chunk.clean["source_rowid"].to_pylist(), *(row.rowid for row in chunk.rows)}

    def _same(self, refused: RefusedRow, kept: KeptRow) -> bool:
        value = (refused.column, refused.storage_class, refused.raw)
        if value != (kept.column, kept.storage_class, kept.raw):
            return False
        return same_json(kept.row, encode_row(refused.values, refused.column))

    def _is_source(self, rowid: int, kept: KeptRow) -> bool:
        """Tell whether a row that only PostgreSQL refused is kept as SQLite holds it."""
        try:
            values = self.theirs.source_values(rowid) if self.theirs else {}
        except LookupError:
            return False
        return kept.column is None and kept.raw is None and same_json(kept.row, encode_row(values))

    def _rows(self, expected: pa.Table, base_keys: pa.Array, base: RowRange, retried: set[int]) -> None:
        """Sort the rows into new, changed, gone and clashing ones."""
        key = self.conversion.key
        nameless = expected.filter(expected[key].is_null())
        self._insert(nameless, retried)
        expected = expected.filter(expected[key].is_valid())
        keys = one_array(expected[key])
        ours = self._read(keys, base_keys)
        here = one_array(ours[key])
        in_base, in_ours = pc.is_in(keys, base_keys), pc.is_in(keys, here)
        self._taken(keys.filter(pc.and_not(in_ours, in_base)))
        self._insert(expected.filter(pc.and_not(pc.invert(in_ours), in_base)), retried)
        self._deleted_here(expected.filter(pc.and_not(in_base, in_ours)))
        both = expected.filter(pc.and_(in_base, in_ours))
        # Only what differs is converted a third time, from the base: most rows of most chunks are the same.
        different = self._differing(both, ours.filter(pc.is_in(here, one_array(both[key]))))
        gone = here.filter(pc.and_not(pc.is_in(here, base_keys), pc.is_in(here, keys)))
        if len(different) or len(gone):
            self._changed(both.filter(pc.is_in(both[key], different)), gone, ours, base)

    def _read(self, keys: pa.Array, base_keys: pa.Array) -> pa.Table:
        """Return the rows that PostgreSQL holds under these keys, in key order."""
        wanted = pa.concat_arrays([keys, base_keys])
        conversion, comparer = self.conversion, self.comparer
        ours = read_back(
            comparer.connection,
            comparer.arrow,
            conversion.target,
            conversion.key,
            conversion.columns,
            _which(conversion.key, wanted),
        )
        ours = ours.filter(pc.is_in(ours[self.conversion.key], wanted)).combine_chunks()
        here = one_array(ours[self.conversion.key])
        # Possible only where somebody has dropped the primary key.
        if len(here) != len(pc.unique(here)):
            twice = next(row["values"] for row in pc.value_counts(here).to_pylist() if row["counts"] > 1)
            raise TargetError(f"{self.conversion.target} holds id {twice} more than once: delete the wrong row first")
        return ours

    def _differing(self, expected: pa.Table, ours: pa.Table) -> pa.Array:
        """Return the keys of the rows that are not what is expected."""
        keys = one_array(expected[self.conversion.key])
        masks = list(self._masks(expected, ours).values())
        if not masks:
            return keys[:0]
        return keys.filter(pc.invert(reduce(pc.and_, masks)))

    def _masks(self, expected: pa.Table, ours: pa.Table) -> dict[str, pa.Array]:
        """Return which values are the same, for each column in which not all are."""
        masks = {
            column: same_values(one_array(expected[column]), _stored(one_array(ours[column]), kind), kind)
            for column, kind in self.conversion.columns.items()
        }
        return {column: mask for column, mask in masks.items() if mask is not None}

    def _changed(self, rows: pa.Table, gone: pa.Array, ours: pa.Table, base: RowRange) -> None:
        """Tell what SQLite changed from what PostgreSQL changed, by the rows as they were."""
        key = self.conversion.key
        wanted = pa.concat_arrays([one_array(rows[key]), gone])
        before = self._before(wanted, base)
        if self.comparer.lenient:
            rows, before = self._rewritten(rows, gone, before)
            wanted = one_array(before[key])
        ours = ours.filter(pc.is_in(ours[key], wanted)).sort_by(key)
        touched: dict[int, list[str]] = {}
        numbers = before[key].to_pylist()
        for column, mask in self._masks(before, ours).items():
            for number, same in zip(numbers, mask.to_pylist(), strict=True):
                if not same:
                    touched.setdefault(number, []).append(column)
        clashing = pa.array(list(touched), pa.int64())
        untouched = rows.filter(pc.invert(pc.is_in(rows[key], clashing)))
        self._update(untouched)
        self._delete(gone.filter(pc.invert(pc.is_in(gone, clashing))))
        if touched:
            self._clashing(rows, gone, before, touched)

    def _rewritten(self, rows: pa.Table, gone: pa.Array, before: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Return the rows that theirs has as another than the base, and the base's rows, with those that are gone."""
        key = self.conversion.key
        was = before.filter(pc.is_in(before[key], one_array(rows[key])))
        different = self._differing(rows.sort_by(key), was)
        kept = pa.concat_arrays([different, gone])
        return rows.filter(pc.is_in(rows[key], different)), before.filter(pc.is_in(before[key], kept))

    def _before(self, keys: pa.Array, base: RowRange) -> pa.Table:
        """Return the rows of the base with these keys, in key order, in the target's columns."""
        assert self.base
        chunk = self.base.chunk(base)
        rows = chunk.clean
        if chunk.rows:
            rows = pa.concat_tables([rows, rows_table(chunk.rows, self.base.conversion.columns)])
        return rows.filter(pc.is_in(rows[self.conversion.key], keys)).sort_by(self.conversion.key)

    def _clashing(self, rows: pa.Table, gone: pa.Array, before: pa.Table, touched: dict[int, list[str]]) -> None:
        key = self.conversion.key
        numbers = pa.array(list(touched), pa.int64())
        there = rows.filter(pc.is_in(rows[key], numbers)).sort_by(key)
        was = before.filter(pc.is_in(before[key], there[key].combine_chunks()))
        theirs = set(self._differing(there, was).to_pylist())
        for number in there[key].to_pylist():
            finding = "was changed in PostgreSQL and in SQLite" if number in theirs else "was changed in PostgreSQL"
            self._clash(number, touched[number], finding)
        lost = gone.filter(pc.is_in(gone, numbers))
        for number in lost.to_pylist():
            self._clash(number, touched[number], self._gone_finding)
        if self.comparer.choice == "theirs":
            self._update(there)
            self._delete(lost)

    @property
    def _gone_finding(self) -> str:
        return "was changed in PostgreSQL and deleted in SQLite" if self.pair.theirs else "was changed in PostgreSQL"

    def _taken(self, keys: pa.Array) -> None:
        for number in keys.to_pylist():
            # No choice helps: the id belongs to a row that is not the file's.
            self.found.clash(self.conversion.target, number, (), "was given to another row in PostgreSQL", final=True)

    def _deleted_here(self, rows: pa.Table) -> None:
        if self.comparer.lenient:
            return
        for number in rows[self.conversion.key].to_pylist():
            self._clash(number, [], "was deleted in PostgreSQL")
        if self.comparer.choice == "theirs":
            self._insert(rows, set())

    def _clash(self, number: int, columns: Sequence[str], finding: str) -> None:
        self.found.clash(self.conversion.target, number, columns, finding)

    def _insert(self, rows: pa.Table, retried: set[int]) -> None:
        if rows.num_rows:
            again = sum(rowid in retried for rowid in rows["source_rowid"].to_pylist()) if retried else 0
            self.found.inserted += rows.num_rows - again
            self.found.retried += again
            self.comparer.sink.put(self.pair, rows, present=False)

    def _update(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self.found.updated += rows.num_rows
            self.comparer.sink.put(self.pair, rows, present=True)

    def _delete(self, keys: pa.Array) -> None:
        if len(keys):
            self.found.deleted += len(keys)
            self.comparer.sink.delete(self.pair, keys)


def _numbers(side: Side, row_range: RowRange) -> set[int]:
    query = f"select {side.table.rowid} from {side.table.relation} where {side.table.between(row_range)}"
    with closing(side.source.connect()) as sqlite:
        return {number for (number,) in sqlite.execute(query)}


def _which(key: str, keys: pa.Array) -> Composed:
    """Return what to ask PostgreSQL for: a range where most ids follow one another, and otherwise each of them."""
    ends = pc.min_max(keys).as_py() if len(keys) else {"min": 0, "max": -1}
    if ends["max"] - ends["min"] > SPARSE * len(keys):
        return key_list(key, pc.unique(keys).to_pylist())
    return key_range(key, ends["min"], ends["max"])


def _stored(column: pa.Array, kind: str) -> pa.Array:
    """Return a column in the form in which PostgreSQL's are read."""
    plain = kind == "jsonb" and not isinstance(column, pa.ExtensionArray)
    return pa.ExtensionArray.from_storage(pa.json_(), column) if plain else column
