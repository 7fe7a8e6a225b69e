"""What the import writes down about itself in the schema `imports`, so that it can go on, prove and report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json, execute_batch

from callytics.exceptions import TargetError
from callytics.importer.convert import ConvertedRow, RefusedRow
from callytics.importer.snapshot import Snapshot
from callytics.importer.values import encode_row
from callytics.sql import queries

SQL = queries(Path(__file__).with_name("ledger.sql"))
UNMAPPED = "imports.unmapped"
"""Target of rows and columns that have no home in the schema."""
LARGEST_JSONB_BYTES = 250 * 1024 * 1024
INSERT_COPIED = (
    "insert into imports.chunks (table_id, first_rowid, last_rowid, copied, pending) values ($1, $2, $3, $4, $5)"
)
"""The checkpoint of a chunk's COPY, in the same transaction, over ADBC."""


@dataclass(frozen=True)
class SourceRecord:
    """A file that an import has taken."""

    id: int
    run: int
    path: str
    snapshot_path: str
    sha256: str
    size_bytes: int
    status: str
    timezone: str
    finished_at: datetime | None


@dataclass(frozen=True)
class TableRecord:
    """A source table's way into one target; `mapping` is None where the target is `imports.unmapped`."""

    id: int
    source_table: str
    mapping: str | None
    target_table: str
    unmapped_columns: tuple[str, ...]
    id_offset: int
    offsets: dict[str, int]
    source_rows: int
    loaded_at: datetime | None


@dataclass(frozen=True)
class KeptRow:
    """A row of `imports.rejected`: the refused column and its value, and the whole row, encoded."""

    column: str | None
    storage_class: str | None
    raw: bytes | None
    row: str


@dataclass(frozen=True)
class Checkpoint:
    """The last chunk of a table that was committed, and the rows up to there."""

    first: int
    last: int
    pending: bool
    rows: int


@dataclass(frozen=True)
class Definition:
    """An index or foreign key that stepped aside."""

    id: int
    kind: str
    table: str
    name: str
    definition: str


class Ledger:
    """The records of imports. Every method works in the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def unfinished_runs(self) -> list[tuple[int, list[str]]]:
        """Return (run, paths of its files) for every run that was not finished."""
        return [(run, list(paths)) for run, paths in self._all("unfinished_runs")]

    def source_by_sha256(self, sha256: str) -> SourceRecord | None:
        """Return the source that brought this content, if any."""
        return next((SourceRecord(*row) for row in self._all("source_by_sha256", sha256=sha256)), None)

    def sources(self, run: int) -> list[SourceRecord]:
        """Return the files of a run in the order they were named."""
        return [SourceRecord(*row) for row in self._all("sources_of_run", run=run)]

    def run_of_path(self, path: Path) -> tuple[int, str] | None:
        """Return (run, snapshot path) of the latest import of a file of this path."""
        return next(iter(self._all("run_of_path", path=str(path))), None)

    def add_run(self, version: str, timezone: str) -> int:
        """Start a run."""
        return int(self._all("insert_run", version=version, timezone=timezone)[0][0])

    def add_source(self, run: int, snapshot: Snapshot) -> int:
        """Record a file of a run."""
        values = {
            "path": str(snapshot.source),
            "snapshot_path": str(snapshot.path),
            "sha256": snapshot.sha256,
        }
        return int(self._all("insert_source", run=run, size_bytes=snapshot.size_bytes, **values)[0][0])

    def add_table(self, source: int, table: TableRecord) -> None:
        """Record a source table's way into one target (its id is not used)."""
        self._run(
            "insert_table",
            source=source,
            source_table=table.source_table,
            mapping=table.mapping,
            target_table=table.target_table,
            unmapped_columns=list(table.unmapped_columns) or None,
            id_offset=table.id_offset,
            offsets=Json(table.offsets),
            source_rows=table.source_rows,
        )

    def tables(self, source: int) -> list[TableRecord]:
        """Return the tables of a source."""
        rows = self._all("tables_of_source", source=source)
        return [_table_record(row) for row in rows]

    def start_table(self, table: int) -> None:
        """Note when the load of a table began."""
        self._run("start_table", table=table)

    def finish_table(self, table: int) -> None:
        """Note that every row of a table is loaded or rejected."""
        self._run("finish_table", table=table)

    def checkpoint(self, table: int) -> Checkpoint | None:
        """Return where a load stopped; None when it has not begun."""
        return next(
            (Checkpoint(row[0], row[1], row[2], int(row[3])) for row in self._all("last_chunk", table=table)),
            None,
        )

    def record_rows(self, table: int, chunk: tuple[int, int], inserted: int, rejected: int) -> None:
        """Record that the single rows of a chunk are in."""
        self._run("record_rows", table=table, first=chunk[0], last=chunk[1], inserted=inserted, rejected=rejected)

    def record_normalisations(self, table: int, rows: Iterable[ConvertedRow]) -> None:
        """Count the normalisations of rows that were loaded."""
        counted: Counter[tuple[str, str]] = Counter()
        examples: dict[tuple[str, str], int] = {}
        for row in rows:
            counted.update(row.normalisations)
            for normalisation in row.normalisations:
                examples.setdefault(normalisation, row.rowid)
        for (column, name), count in counted.items():
            example = examples[column, name]
            self._run(
                "record_normalisation",
                table=table,
                column=column,
                normalisation=name,
                rows=count,
                example=example,
            )

    def reject(self, table: int, source_table: str, rows: Sequence[RefusedRow]) -> None:
        """Keep refused rows aside, whole."""
        parameters = [
            {
                "table": table,
                "source_table": source_table,
                "rowid": row.rowid,
                "column": row.column,
                "reason": row.reason,
                "storage_class": row.storage_class,
                "raw": row.raw,
                "row": keepable(encode_row(row.values, row.column), source_table, row.rowid),
            }
            for row in rows
        ]
        with self.connection.cursor() as cursor:
            execute_batch(cursor, SQL["insert_rejected"], parameters)

    def rejected(self, table: int, chunk: tuple[int, int]) -> dict[int, KeptRow]:
        """Return the rows of a chunk that were rejected, by row number."""
        rows = self._all("rejected_between", table=table, first=chunk[0], last=chunk[1])
        return {
            rowid: KeptRow(column, storage_class, None if raw is None else bytes(raw), row)
            for rowid, column, storage_class, raw, row in rows
        }

    def unmapped(self, table: int, chunk: tuple[int, int]) -> dict[int, str]:
        """Return the encoded rows of a chunk that were kept as unmapped, by row number."""
        return dict(self._all("unmapped_between", table=table, first=chunk[0], last=chunk[1]))

    def counts(self, table: int) -> tuple[int, int]:
        """Return the rows loaded and rejected of a table."""
        loaded, rejected = self._all("counts", table=table)[0]
        return int(loaded), int(rejected)

    def kept_aside(self, table: int) -> tuple[int, int]:
        """Return how many rows of a table are in `imports.rejected` and in `imports.unmapped`."""
        rejected, unmapped = self._all("kept_aside", table=table)[0]
        return int(rejected), int(unmapped)

    def verified_table(self, table: int, rows: int, different: int) -> None:
        """Note what verification found."""
        self._run("verified_table", table=table, rows=rows, different=different)

    def families(self, table: str, generation: int) -> list[tuple[int, int]]:
        """Return (run, offset of the ids) for every earlier import of a source table of a generation."""
        rows = self._all("families", table=table, generation=f"generation_{generation}/%")
        return [(run, offset) for run, offset in rows]

    def add_definition(self, run: int, kind: str, table: str, name: str, definition: str) -> None:
        """Record an index or foreign key before it steps aside."""
        self._run("insert_definition", run=run, kind=kind, table=table, name=name, definition=definition)

    def definitions_to_restore(self, run: int) -> list[Definition]:
        """Return what stepped aside and is not back yet."""
        return [Definition(*row) for row in self._all("definitions_to_restore", run=run)]

    def restored(self, definition: int, orphans: int = 0) -> None:
        """Note that a definition is back, and how many rows lack a parent."""
        self._run("restored", definition=definition, orphans=orphans)

    def finish_run(self, run: int, status: str) -> None:
        """Close a run with its verdict."""
        self._run("finish_run", run=run, status=status)

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a reporting query (`summary`, `rejects`, …) as dictionaries."""
        with self.connection.cursor() as cursor:
            cursor.execute(SQL[query], parameters)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _all(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with self._execute(query, parameters) as cursor:
            return cursor.fetchall()

    def _run(self, query: str, **parameters: Any) -> None:
        self._execute(query, parameters).close()

    def _execute(self, query: str, parameters: dict[str, Any]) -> Cursor:
        cursor = self.connection.cursor()
        cursor.execute(SQL[query], parameters)
        return cursor


def keepable(row: str, table: str, rowid: int) -> str:
    """Return an encoded row; `TargetError` where it is more than jsonb can keep aside."""
    if len(row) > LARGEST_JSONB_BYTES // 4 and len(row.encode()) > LARGEST_JSONB_BYTES:
        raise TargetError(
            f"row {rowid} of {table} can't be held and is too large to be kept aside ({len(row):,} characters, jsonb "
            "takes 256 MB): move its large values out of a copy of the file, and import that"
        )
    return row


def _table_record(row: tuple[Any, ...]) -> TableRecord:
    record = TableRecord(*row)
    return replace(record, unmapped_columns=tuple(record.unmapped_columns or ()))
