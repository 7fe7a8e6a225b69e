"""Staging: changes are collected in temporary tables of one transaction and applied by sets.

Deleted are children before parents, written are parents before children. A row that PostgreSQL refuses is found by
halving and rejected, as in an import; where rows must be without a parent, the foreign keys are deferred.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import psycopg2
import psycopg2.errors
import pyarrow as pa
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values

from callytics.importer.convert.rows import RefusedRow
from callytics.importer.records.entries import TableRecord
from callytics.importer.records.ledger import Ledger, batches
from callytics.importer.target.catalogue import Target
from callytics.importer.target.comparing.found import Found, MappedPair, UnmappedPair
from callytics.importer.target.writing.refusals import Refusal, refused_of
from callytics.importer.target.writing.stage import Child, ForeignKey, ForeignKeysInTheWay, Overtaken, Refused, Stage
from callytics.importer.target.writing.text import copy_csv
from callytics.postgres.bulk.arrow import one_array
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_name("staging.sql"))
MOST_CHILDREN = 100


class Staging:
    """Collects changes as a `changes.Sink` and applies them; all in the transaction of its connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ledger = Ledger(connection)
        self.stages: dict[str, Stage] = {}
        # Workers hand in changes from their threads, and a connection executes one statement at a time.
        self._lock = threading.Lock()

    def put(self, pair: MappedPair, rows: pa.Table, present: bool) -> None:
        """Stage rows that are to be inserted, or that are `present` and to be updated."""
        with self._lock:
            stage = self._stage(pair)
            first = stage.rows
            stage.rows += rows.num_rows
            control = {
                "sync_n": pa.array(range(first, stage.rows), pa.int64()),
                "sync_table": pa.repeat(pair.record.id, rows.num_rows),
                "sync_rowid": one_array(rows["source_rowid"]),
                "sync_present": pa.repeat(present, rows.num_rows),
                "sync_refused": pa.repeat(False, rows.num_rows),
            }
            columns = {name: one_array(rows[name]) for name in stage.columns}
            self._copy(stage, "copy_rows", copy_csv(control | columns))

    def delete(self, pair: MappedPair, keys: pa.Array) -> None:
        """Stage keys of rows that are to be deleted."""
        with self._lock:
            stage = self._stage(pair)
            stage.keys += len(keys)
            self._copy(stage, "copy_keys", copy_csv({"table": pa.repeat(pair.record.id, len(keys)), "key": keys}))

    def delete_recorded(self, table: TableRecord) -> int:
        """Stage what the records say that an import brought to a table; returns the rows."""
        stage = self._stage_of(table.target_table)
        recorded = {"table": table.id, "key": stage.key}
        rows = SQL.run(self.connection, "stage_recorded", recorded, **stage.parts)
        stage.keys += rows
        return rows

    def reject(self, pair: MappedPair, outdated: Sequence[int], refused: Sequence[RefusedRow]) -> None:
        """Bring imports.rejected and imports.shared up to date."""
        with self._lock:
            SQL.run(self.connection, "delete_rejected", {"table": pair.record.id, "rowids": list(outdated)})
            self.ledger.reject(pair.record.id, pair.record.source_table, refused)

    def keep_unmapped(self, pair: UnmappedPair, outdated: Sequence[int], rows: Sequence[tuple[int, str]]) -> None:
        """Bring imports.unmapped up to date."""
        record = pair.record
        with self._lock, self.connection.cursor() as cursor:
            SQL.run(self.connection, "delete_unmapped", {"table": record.id, "rowids": list(outdated)})
            values = [(record.id, record.source_table, rowid, row) for rowid, row in rows]
            for batch in batches(values, lambda one: len(one[3])):
                execute_values(cursor, SQL["put_unmapped"], batch, page_size=1000)

    def _stage(self, pair: MappedPair) -> Stage:
        conversion = pair.conversion
        if conversion.target not in self.stages:
            self._create(Stage(conversion.target, conversion.key, conversion.columns))
        return self.stages[conversion.target]

    def _create(self, stage: Stage) -> None:
        self.stages[stage.target] = stage
        SQL.run(self.connection, "stage_rows", **stage.parts)
        SQL.run(self.connection, "stage_keys", **stage.parts)

    def _copy(self, stage: Stage, query: str, text: io.BytesIO) -> None:
        with self.connection.cursor() as cursor:
            cursor.copy_expert(SQL.text(query, self.connection, **stage.parts), text)

    @property
    def empty(self) -> bool:
        """Tell whether no row of a table is to change."""
        return not any(stage.rows or stage.keys for stage in self.stages.values())

    def prepare(self) -> None:
        """Make ready what was collected: indexes, statistics, and the months that rows go to."""
        target = Target(self.connection)
        for stage in self.stages.values():
            SQL.run(self.connection, "index_rows", **stage.parts)
            SQL.run(self.connection, "analyze_keys", **stage.parts)
            if target.is_partitioned(stage.target):
                months = SQL.rows(self.connection, "months", **stage.parts)
                made, _left = target.missing_months(stage.target, [month for (month,) in months])
                for month in made:
                    target.make_month(stage.target, month)
        if "topics" in self.stages:
            SQL.run(self.connection, "keep_topic", **self.stages["topics"].parts)

    def remaining_children(self) -> list[Child]:
        """Return rows that refer to rows to be deleted and are not to be deleted themselves, the first of each key."""
        deleting = [stage.target for stage in self.stages.values() if stage.keys]
        found: list[Child] = []
        seen: set[tuple[str, str]] = set()
        for key in self._foreign_keys(deleting):
            if key.parent in deleting and (key.child, key.column) not in seen:
                seen.add((key.child, key.column))
                found += self._remaining(key)
        return found

    def add_children(self) -> None:
        """Stage for deletion what no import brought and refers to rows to be deleted, and what refers to that."""
        while self._add_children():
            pass

    def _add_children(self) -> int:
        added = 0
        deleting = [stage.target for stage in self.stages.values() if stage.keys]
        for key in list(self._foreign_keys(deleting)):
            if key.parent in deleting:
                child = self._stage_of(key.child)
                rows = SQL.run(self.connection, "add_children", {"child": key.child}, **self._along(key))
                child.keys += rows
                added += rows
        return added

    def _stage_of(self, target: str) -> Stage:
        if target not in self.stages:
            columns = Target(self.connection).columns(target)
            self._create(Stage(target, self._key_column(target), columns))
        return self.stages[target]

    def _remaining(self, key: ForeignKey) -> Iterator[Child]:
        found = {"child": key.child, "limit": MOST_CHILDREN}
        for number, run in SQL.rows(self.connection, "remaining_children", found, **self._along(key)):
            yield Child(key.child, number, key.parent, run)

    def _stays(self, table: str, alias: str = "c") -> sql.Composable:
        """Return the condition that a row of a table is not staged for deletion."""
        if table not in self.stages:
            return sql.SQL("true")
        return sql.SQL("not exists (select from {gone} x where x.key = {row})").format(
            gone=self.stages[table].gone, row=sql.Identifier(alias, self.stages[table].key)
        )

    def _along(self, key: ForeignKey) -> dict[str, sql.Composable]:
        """Return the parts of a query about the children `c` of rows to be deleted that stay themselves."""
        child = self.stages.get(key.child)
        return {
            "child": sql.Identifier(key.child),
            "child_key": sql.Identifier(self._key_column(key.child)),
            "child_gone": child.gone if child else sql.SQL(""),
            "column": sql.Identifier(key.column),
            "parent": sql.Identifier(key.parent),
            "parent_column": sql.Identifier(key.parent_column),
            "parent_key": sql.Identifier(self.stages[key.parent].key),
            "gone": self.stages[key.parent].gone,
            "stays": self._stays(key.child),
        }

    def referred(self, column: str, child: MappedPair) -> set[int]:
        """Return the ids to which the staged rows of a table refer by a column."""
        stage = self.stages.get(child.conversion.target)
        if stage is None or not stage.rows:
            return set()
        found = {"table": child.record.id}
        rows = SQL.rows(self.connection, "referred", found, **stage.parts, column=sql.Identifier(column))
        return {number for (number,) in rows}

    def mistaken_references(
        self, column: str, child: MappedPair, parent: MappedPair, ids: Collection[int]
    ) -> list[tuple[int, int]]:
        """Return staged rows (key, id) that would refer to a row that is there by one of the `ids`, no row's of ours.

        PostgreSQL is asked only if there are such ids: of a whole table's rows hardly one refers to a stranger's.
        """
        if not ids:
            return []
        stage = self.stages[child.conversion.target]
        return SQL.rows(
            self.connection,
            "mistaken_references",
            {"table": child.record.id, "ids": list(ids), "limit": MOST_CHILDREN},
            **stage.parts,
            column=sql.Identifier(column),
            parent=sql.Identifier(parent.conversion.target),
            parent_key=sql.Identifier(parent.conversion.key),
            stays=self._stays(parent.conversion.target, "p"),
        )

    def _key_column(self, table: str) -> str:
        return str(SQL.value(self.connection, "key_column", {"table": table}) or "id")

    def apply(self, *, defer: bool) -> list[ForeignKey]:
        """Write everything; returns the foreign keys that were dropped and added again NOT VALID.

        They are deferred only where the tables are locked (`defer`): otherwise others could write orphans meanwhile.
        Raises `ForeignKeysInTheWay` where the changes cannot be made without that, and `Overtaken` where the same
        rows were written to since they were compared.
        """
        target = Target(self.connection)
        keys = list(self._foreign_keys(list(self.stages))) if defer else []
        try:
            for key in keys:
                target.defer("foreign key", key.table, key.name)
            self._apply(defer=defer)
            for key in keys:
                target.declare_foreign_key(key.table, key.name, key.definition)
        except psycopg2.errors.ForeignKeyViolation as error:
            raise ForeignKeysInTheWay from error
        except psycopg2.errors.SerializationFailure as error:
            raise Overtaken from error
        return keys

    def _apply(self, *, defer: bool) -> None:
        order = self._parents_first()
        for stage in self.stages.values():
            stage.refused.clear()
            stage.moved.clear()
        # Children first, or their foreign keys would refuse it.
        for stage in reversed(order):
            if stage.keys:
                SQL.run(self.connection, "delete_rows", **stage.parts)
        # Updates before inserts: one may give up a unique value that a new row takes.
        for present in (True, False):
            for stage in order:
                for number, refusal in self._write(stage, (0, stage.rows - 1), present=present):
                    if present:
                        self._make_room(stage, number, defer=defer)
                    else:
                        self._refuse(stage, number, refusal)
        for stage in order:
            SQL.run(self.connection, "no_longer_rejected", **stage.parts)

    def _write(self, stage: Stage, span: tuple[int, int], *, present: bool) -> Iterator[tuple[int, Refusal]]:
        """Write the staged rows of a span, and yield those that PostgreSQL refuses, with the reason."""
        query = "update_rows" if present else "insert_rows"

        def write(first: int, last: int) -> None:
            try:
                SQL.run(self.connection, query, {"first": first, "last": last}, **stage.parts)
            except psycopg2.errors.ForeignKeyViolation as error:
                raise ForeignKeysInTheWay from error
            except psycopg2.errors.UniqueViolation as error:
                # The comparison found this id free: it was taken meanwhile.
                if not present and (error.diag.constraint_name or "").endswith("_pkey"):
                    raise Overtaken from error
                raise

        with self.connection.cursor() as cursor:
            yield from refused_of(cursor, write, *span)

    def _make_room(self, stage: Stage, number: int, *, defer: bool) -> None:
        if not defer:
            raise ForeignKeysInTheWay
        stage.moved.add(number)
        SQL.run(self.connection, "make_room", {"n": number}, **stage.parts)

    def _refuse(self, stage: Stage, number: int, refusal: Refusal) -> None:
        for table_id, rowid in SQL.rows(self.connection, "refuse_row", {"n": number}, **stage.parts):
            stage.refused.append(Refused(table_id, rowid, refusal, number in stage.moved))

    def _foreign_keys(self, tables: Iterable[str]) -> Iterator[ForeignKey]:
        for row in SQL.rows(self.connection, "foreign_keys", {"tables": list(tables)}):
            yield ForeignKey(*row)

    def not_validated(self, tables: Iterable[str] = ()) -> list[ForeignKey]:
        """Return the foreign keys from and to the changed tables, and these, that are not valid: they may be now."""
        return [key for key in self._foreign_keys({*self.stages, *tables}) if not key.valid]

    def _parents_first(self) -> list[Stage]:
        parents: dict[str, set[str]] = {target: set() for target in self.stages}
        for key in self._foreign_keys(list(self.stages)):
            if key.child in parents and key.parent in parents and key.child != key.parent:
                parents[key.child].add(key.parent)
        order: list[Stage] = []
        # This ends, since the schema's foreign keys form no circle but that of a table with itself.
        while parents:
            free = sorted(target for target, above in parents.items() if not above & set(parents))
            order += [self.stages[target] for target in free]
            for target in free:
                del parents[target]
        return order


def begin(connection: Connection, *, lock: bool) -> str:
    """Begin a transaction and return the name of its database snapshot, with which workers see the same rows.

    With ``lock`` others can read the tables but not write to them until the transaction ends. The lock must come
    before the first query: that fixes what the transaction sees, and rows written between the two would be missed.
    """
    tables = lockable(connection) if lock else []
    # The transaction that read the catalogue ends here: the next statement must be the first of its own.
    connection.rollback()
    SQL.run(connection, "one_moment")
    if tables:
        SQL.run(connection, "lock_tables", tables=sql.SQL(", ").join(map(sql.SQL, tables)))
    return str(SQL.value(connection, "export_moment"))


def lockable(connection: Connection) -> list[str]:
    """Return the tables that an import may fill, as they are written in SQL."""
    return [table for (table,) in SQL.rows(connection, "lockable")]


def refused_changes(staging: Staging, found: Iterable[Found]) -> Iterator[tuple[Found, MappedPair, Refused]]:
    """Yield the rows that PostgreSQL did not take, with the table they came from."""
    by_table = {one.pair.record.id: (one, one.pair) for one in found if isinstance(one.pair, MappedPair)}
    for stage in staging.stages.values():
        for refused in stage.refused:
            yield *by_table[refused.table_id], refused
