"""The ledger: what the schema ``imports`` records of every run, so that it can be resumed, proved and reported.

Methods never commit. A record is worth something only if it is in the transaction of the work that it records.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from psycopg2.extras import Json, execute_batch

from callytics.importer.convert.rows import ConvertedRow, RefusedRow, encode_row
from callytics.importer.records.changes import SQL, TableChanges, json_or_null
from callytics.importer.records.entries import (
    Checkpoint,
    Definition,
    KeptRow,
    NormalisationSummary,
    OrphanedKey,
    RejectSummary,
    SourceRecord,
    TableRecord,
    TableSummary,
    entries,
)
from callytics.importer.records.erased import erased_of
from callytics.importer.source.snapshot import Snapshot
from callytics.postgres.text import path_text, text_path

T = TypeVar("T")
R = TypeVar("R")
# The target of rows and columns that no mapping reads.
UNMAPPED = "imports.unmapped"
# What one statement brings at most, unless a single row is more: a statement can't be larger than 1 GB.
STATEMENT_BYTES = 64 * 1024 * 1024
# The checkpoint of a chunk's COPY. Executed on the ADBC connection of the COPY, which shares no transaction with
# psycopg2's: rows without their checkpoint would be loaded twice, a checkpoint without its rows would lose them.
INSERT_COPIED = (
    "insert into imports.chunks (table_id, first_rowid, last_rowid, copied, pending) values ($1, $2, $3, $4, $5)"
)


class Ledger(TableChanges):
    """The records of imports. Every method works in the caller's transaction and leaves the commit to the caller."""

    def archived_months(self, run: int) -> list[str]:
        """Return the months (2024-05) with rows of a run that are only in files, see :mod:`callytics.archives`."""
        return [month for (month,) in self._all("archived_months", run=run)]

    def unfinished_runs(self) -> list[tuple[int, list[str]]]:
        """Return (run, absolute paths of its files) for every run that has no verdict yet."""
        return [(run, [text_path(path) for path in paths]) for run, paths in self._all("unfinished_runs")]

    def source_by_sha256(self, sha256: str) -> SourceRecord | None:
        """Return the source with this content, unless its import was undone; None if there is none."""
        return next(iter(self._sources("source_by_sha256", sha256=sha256)), None)

    def sources(self, run: int) -> list[SourceRecord]:
        """Return the files of a run in the order they were named."""
        return self._sources("sources_of_run", run=run)

    def run_of_path(self, path: Path) -> tuple[int, str] | None:
        """Return (run, snapshot path) of the latest import of a file of this path that was not undone."""
        found = self._all("run_of_path", path=path_text(path))
        return next(((run, text_path(snapshot)) for run, snapshot in found), None)

    def add_run(self, version: str, timezone: str) -> int:
        """Record a new run of this version of callytics and return its number."""
        return int(self._all("insert_run", version=version, timezone=timezone)[0][0])

    def add_source(self, run: int, snapshot: Snapshot) -> int:
        """Record a file of a run and how long its snapshot took; returns the source's number."""
        values = {
            "path": path_text(snapshot.source),
            "snapshot_path": path_text(snapshot.path),
            "sha256": snapshot.sha256,
        }
        self.add_step(run, "snapshot", values["path"], snapshot.began, snapshot.ended)
        return int(self._all("insert_source", run=run, size_bytes=snapshot.size_bytes, **values)[0][0])

    def add_table(self, source: int, table: TableRecord, *, loaded: bool = False) -> TableRecord:
        """Record what goes from a source table to one target and return it with its id.

        ``loaded`` means that all its rows are written in this very transaction, as by a sync.
        """
        [(number,)] = self._all(
            "insert_table",
            source=source,
            source_table=table.source_table,
            mapping=table.mapping,
            target_table=table.target_table,
            unmapped_columns=list(table.unmapped_columns) or None,
            id_offset=table.id_offset,
            offsets=Json(table.offsets),
            source_rows=table.source_rows,
            readings=json_or_null(table.readings),
            loaded=loaded,
        )
        return replace(table, id=number)

    def tables(self, source: int) -> list[TableRecord]:
        """Return the tables of a source, one record for each target."""
        records = [_table_record(row) for row in self._all("tables_of_source", source=source)]
        marks = self._all("erased_of_source", source=source)
        gone = {table: frozenset(ids) for table, ids in self._all("erased_ids")}
        return [replace(record, erased=erased_of(record, marks, gone)) for record in records]

    def carry_erased(self, run: int) -> int:
        """Let what was erased of an earlier import of the same files be erased of this one; returns how many rows."""
        return SQL.run(self.connection, "carry_erased", {"run": run})

    def start_table(self, table: int) -> None:
        """Record when the load of a table began, unless that is recorded already."""
        self._run("start_table", table=table)

    def finish_table(self, table: int) -> None:
        """Record that every row of a table is loaded or rejected."""
        self._run("finish_table", table=table)

    def chunks(self, table: int, within: tuple[int, int]) -> list[Checkpoint]:
        """Return the checkpoints of chunks that overlap a row range, in order."""
        first, last = within
        return [Checkpoint(*row) for row in self._all("chunks_within", table=table, first=first, last=last)]

    def record_rows(self, table: int, chunk: tuple[int, int], inserted: int, refused: Sequence[RefusedRow]) -> None:
        """Record that the rows of a chunk that are inserted one by one are done: the chunk is no longer pending."""
        shared = sum(row.shared is not None for row in refused)
        figures = {"inserted": inserted, "rejected": len(refused) - shared, "shared": shared}
        self._run("record_rows", table=table, first=chunk[0], last=chunk[1], **figures)

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
        """Store refused rows whole in ``imports.rejected``, and those that are there already in ``imports.shared``."""
        self._share(table, [row for row in rows if row.shared])
        parameters: Iterable[dict[str, Any]] = (
            {
                "table": table,
                "source_table": source_table,
                "rowid": row.rowid,
                "column": row.column,
                "reason": row.reason,
                "storage_class": row.storage_class,
                "raw": row.raw,
                "row": encode_row(row.values, row.column),
                "conflicting": row.conflicting,
            }
            for row in rows
            if not row.shared
        )
        with self.connection.cursor() as cursor:
            # Many statements a round trip; executemany would send them one by one.
            for batch in batches(parameters, lambda one: len(one["raw"] or b"") + len(one["row"])):
                execute_batch(cursor, SQL["insert_rejected"], batch)

    def _share(self, table: int, rows: Sequence[RefusedRow]) -> None:
        parameters = [
            {
                "table": table,
                "rowid": row.rowid,
                "target": row.shared.target_id,
                "own": row.shared.own,
                "row": encode_row(row.values),
            }
            for row in rows
            if row.shared
        ]
        with self.connection.cursor() as cursor:
            execute_batch(cursor, SQL["insert_shared"], parameters)

    def kept(self, table: int, chunk: tuple[int, int]) -> dict[int, KeptRow]:
        """Return the rows of a chunk that were not loaded, by row number: rejected ones and shared ones."""
        rows = self._all("kept_between", table=table, first=chunk[0], last=chunk[1])
        return {
            rowid: KeptRow(column, storage_class, None if raw is None else bytes(raw), row, shared)
            for rowid, column, storage_class, raw, row, shared in rows
        }

    def unmapped(self, table: int, chunk: tuple[int, int]) -> dict[int, str]:
        """Return the encoded rows of a chunk in ``imports.unmapped``, by row number."""
        return dict(self._all("unmapped_between", table=table, first=chunk[0], last=chunk[1]))

    def counts(self, table: int) -> tuple[int, int, int]:
        """Return how many rows of a table are loaded, rejected and shared, by its checkpoints."""
        loaded, rejected, shared = self._all("counts", table=table)[0]
        return int(loaded), int(rejected), int(shared)

    def stored_counts(self, table: int) -> tuple[int, int, int]:
        """Return how many rows of a table there are in ``imports.rejected``, ``.unmapped`` and ``.shared``."""
        rejected, unmapped, shared = self._all("stored_counts", table=table)[0]
        return int(rejected), int(unmapped), int(shared)

    def verified_table(self, table: int, rows: int, different: int, began: float) -> None:
        """Record what verification found, which began at ``began`` in seconds of ``time.monotonic()``."""
        # On this machine's clock, which no correction of the time of day touches.
        seconds = time.monotonic() - began
        self._run("verified_table", table=table, rows=rows, different=different, seconds=seconds)

    def id_offsets(self, table: str, generation: int) -> list[tuple[int, int]]:
        """Return (run, offset of the ids) for every import of a source table of a generation."""
        rows = self._all("id_offsets", table=table, generation=f"generation_{generation}/%")
        return [(run, offset) for run, offset in rows]

    def add_definition(self, run: int, kind: str, table: str, name: str, definition: str) -> None:
        """Record an index or key that is dropped in the same transaction: only so can a crash not lose it."""
        self._run("insert_definition", run=run, kind=kind, table=table, name=name, definition=definition)

    def definitions_to_restore(self, run: int) -> list[Definition]:
        """Return the deferred indexes and keys of a run that are not restored yet."""
        return [Definition(*row) for row in self._all("definitions_to_restore", run=run)]

    def restored(self, definition: int, orphans: int = 0) -> None:
        """Record that a definition is restored, and how many rows lack a parent."""
        self._run("restored", definition=definition, orphans=orphans)

    @contextmanager
    def step(self, run: int, step: str, name: str) -> Iterator[None]:
        """Record how long the block took, unless it raises (``resume``, ``analyze``, ``index``, ``foreign key``)."""
        began = time.monotonic()
        yield
        self.add_step(run, step, name, began, time.monotonic())

    def add_step(self, run: int, step: str, name: str, began: float, ended: float) -> None:
        """Record a step that lasted from ``began`` to ``ended``, in seconds of ``time.monotonic()``."""
        # The server's clock gives the time of day, and this machine's only differences: the two may disagree.
        ago = time.monotonic() - ended
        self._run("insert_step", run=run, step=step, name=name, seconds=ended - began, ago=ago)

    def measure_before(self, run: int) -> None:
        """Record the bytes of the tables and indexes that a run is going to write, for the report."""
        self._run("sizes_before", run=run)

    def measure_after(self, run: int) -> None:
        """Record the bytes of the tables and indexes that a run has written, for the report."""
        self._run("sizes_after", run=run)

    def finish_run(self, run: int, status: str) -> None:
        """Close a run with its verdict."""
        self._run("finish_run", run=run, status=status)

    def source_of_path(self, path: Path) -> SourceRecord | None:
        """Return the latest import of a file of this path that was not undone."""
        return next(iter(self._sources("source_of_path", path=path_text(path))), None)

    def imported_sources(self) -> list[SourceRecord]:
        """Return every file of an import that was not undone, the latest first."""
        return self._sources("imported_sources")

    def imported_mappings(self) -> set[str]:
        """Return the names of the mappings of all tables whose imports were not undone."""
        return {mapping for (mapping,) in self._all("imported_mappings")}

    def imported_paths(self) -> list[str]:
        """Return the paths of all files whose imports were not undone."""
        return [text_path(path) for (path,) in self._all("imported_paths")]

    def update_source(self, source: int, snapshot: Snapshot) -> None:
        """Record the content and the snapshot of a file after a sync."""
        self._run(
            "update_source",
            source=source,
            sha256=snapshot.sha256,
            snapshot_path=path_text(snapshot.path),
            size_bytes=snapshot.size_bytes,
        )

    def add_sync(self, source: SourceRecord, snapshot: Snapshot, **figures: Any) -> None:
        """Record a sync: the contents before and after, whose rows were taken, and how many were written."""
        self._run(
            "insert_sync",
            source=source.id,
            sha256_before=source.sha256,
            snapshot_before=path_text(source.snapshot_path),
            sha256=snapshot.sha256,
            **figures,
        )

    def own_snapshots(self) -> set[str]:
        """Return the paths of snapshots to keep: of each file, that of its import and that of its latest sync."""
        return {text_path(path) for (path,) in self._all("own_snapshots")}

    def record_orphans(self, run: int, key: tuple[str, str, str], orphans: int) -> None:
        """Record how many rows lack a parent in a foreign key (table, name, definition) after a sync or an undo."""
        table, name, definition = key
        if not self._all("record_orphans", table=table, name=name, orphans=orphans) and orphans:
            # No import has deferred this key: recorded as if this run had, so that the report names it.
            self.add_definition(run, "foreign key", table, name, definition)
            for added in self.definitions_to_restore(run):
                self.restored(added.id, orphans)

    def run_status(self, run: int) -> str | None:
        """Return the status of a run, ``running`` until it has a verdict; None if there is no such run."""
        return next((status for (status,) in self._all("run_status", run=run)), None)

    def held_table(self, run: int, tables: Sequence[str]) -> str | None:
        """Return a table, of these and those that they refer to, that a cut-off run needs for itself; None for none.

        A run holds the tables that it has not loaded, and those without an index or key that it has deferred.
        """
        return next((table for (table,) in self._all("held_table", run=run, tables=list(tables))), None)

    def targets(self, run: int) -> list[str]:
        """Return the tables of the schema that a run writes."""
        return [table for (table,) in self._all("targets", run=run)]

    def forget_rows(self, run: int) -> None:
        """Record that none of a run's rows are there, as when it began; what it has deferred stays on record."""
        self._run("forget_rows", run=run)

    def snapshots_besides(self, run: int) -> set[str]:
        """Return the paths of the snapshots that other runs have, undone ones too."""
        return {text_path(path) for (path,) in self._all("snapshots_besides", run=run)}

    def undo_run(self, run: int) -> None:
        """Record that a run was undone; the run stays on record."""
        self._run("undo_run", run=run)

    def timezone(self, run: int) -> str:
        """Return the name of the zone of a run's local times."""
        return str(self._all("timezone", run=run)[0][0])

    def change_zone(self, run: int, timezone: str, readings: dict[str, list[str]], **figures: Any) -> None:
        """Record another zone of a run, and the columns (TABLE.COLUMN) that are read otherwise: before and after."""
        self._run("insert_zone_change", run=run, timezone=timezone, readings=Json(readings), **figures)
        self._run("change_zone", run=run, timezone=timezone)

    def summary(self, run: int) -> list[TableSummary]:
        """Return what became of each table of a run, file by file."""
        return self._entries(TableSummary, "summary", run)

    def rejects(self, run: int) -> list[RejectSummary]:
        """Return the rejected rows of a run by table, column and reason, the most frequent reason of a table first."""
        return self._entries(RejectSummary, "rejects", run)

    def normalisations(self, run: int) -> list[NormalisationSummary]:
        """Return the normalised values of a run by column and normalisation."""
        return self._entries(NormalisationSummary, "normalisations", run)

    def not_validated(self, run: int) -> list[OrphanedKey]:
        """Return the foreign keys that a run left NOT VALID."""
        return self._entries(OrphanedKey, "not_validated", run)

    def _sources(self, query: str, **parameters: Any) -> list[SourceRecord]:
        return entries(SourceRecord, SQL.all(self.connection, query, parameters))

    def _entries(self, kind: type[T], query: str, run: int) -> list[T]:
        return entries(kind, SQL.all(self.connection, query, {"run": run}))


def batches(rows: Iterable[R], size: Callable[[R], int], most: int = sys.maxsize) -> Iterator[list[R]]:
    """Yield rows in lists of ``most`` rows and the bytes of a statement at most; ``size`` tells those of a row."""
    batch: list[R] = []
    total = 0
    for row in rows:
        if batch and (len(batch) == most or total + size(row) > STATEMENT_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(row)
        total += size(row)
    if batch:
        yield batch


def _table_record(row: tuple[Any, ...]) -> TableRecord:
    record = TableRecord(*row)
    return replace(record, unmapped_columns=tuple(record.unmapped_columns or ()))
