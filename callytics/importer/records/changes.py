"""What the ledger records of changes to a table that was imported before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection
from psycopg2.extras import Json

from callytics.importer.records.entries import TableRecord
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_name("ledger.sql"))


class TableChanges:
    """The part of the ledger that syncs keep: what tables and files are now. Like all of it, it never commits."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def version_of_source(self, source: int) -> str:
        """Return the version of callytics that imported a file or synchronised it last."""
        [(version,)] = self._all("version_of_source", source=source)
        return str(version)

    def forget_verdict(self, source: int) -> None:
        """Record that a file's tables are to be verified again."""
        self._run("forget_verdict", source=source)

    def extent(self, table: int) -> tuple[int | None, int | None, list[int]]:
        """Return the first and last row number of a table's checkpoints, and [copied, inserted, rejected, shared]."""
        [(first, last, *loaded)] = self._all("extent", table=table)
        return first, last, [int(rows) for rows in loaded]

    def ids_without(self, table: int, gone: str, come: str) -> str | None:
        """Return the ids of a table, a multirange, once some have gone and others have come; None: not listed."""
        ids: str | None
        [(ids,)] = self._all("ids_without", table=table, gone=gone, come=come)
        return ids

    def rejected_rows(self, source: int) -> dict[str, list[int]]:
        """Return the numbers of a file's rejected rows, by source table."""
        return dict(self._all("rejected_rows", source=source))

    def unmapped_rows(self, table: int, rowids: Sequence[int]) -> dict[int, str]:
        """Return encoded rows of ``imports.unmapped`` by their numbers."""
        return dict(self._all("unmapped_rows", table=table, rowids=list(rowids)))

    def update_table(self, table: TableRecord, ids: str | None) -> None:
        """Record a source table after a sync: its mapping, its rows, and its ids as a multirange (None: not listed)."""
        self._run(
            "update_table",
            table=table.id,
            source_table=table.source_table,
            mapping=table.mapping,
            unmapped_columns=list(table.unmapped_columns) or None,
            source_rows=table.source_rows,
            readings=json_or_null(table.readings),
            ids=ids,
        )

    def forget_table(self, table: int) -> None:
        """Delete the record of a table that its file no longer has, with its rejected and unmapped rows."""
        self._run("forget_table", table=table)

    def forget_normalisations(self, table: int) -> None:
        """Delete what is recorded of a table's normalised values."""
        self._run("forget_normalisations", table=table)

    def forget_past_normalisations(self, table: int) -> None:
        """Delete what is recorded of normalisations that no row of a table has any more."""
        self._run("forget_past_normalisations", table=table)

    def replace_chunks(self, table: int, row_range: tuple[int, int] | None, loaded: tuple[int, int, int, int]) -> None:
        """Replace the checkpoints of a table by one chunk that covers all its rows.

        ``loaded`` are the rows copied, inserted, rejected and shared; ``row_range`` is None if there are no rows.
        """
        self._run("forget_chunks", table=table)
        if row_range:
            names = ("copied", "inserted", "rejected", "shared")
            first, last = row_range
            self._run("insert_chunk", table=table, first=first, last=last, **dict(zip(names, loaded, strict=True)))

    def add_normalisation(self, table: int, column: str, normalisation: str, rows: int, example: int) -> None:
        """Add to the number of rows in which a column's value was normalised."""
        self._run(
            "record_normalisation", table=table, column=column, normalisation=normalisation, rows=rows, example=example
        )

    def _all(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return SQL.rows(self.connection, query, parameters)

    def _run(self, query: str, **parameters: Any) -> None:
        SQL.run(self.connection, query, parameters)


def json_or_null(value: dict[str, str] | None) -> Json | None:
    return None if value is None else Json(value)
