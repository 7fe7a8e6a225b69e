"""What sync and undo share: comparing files with PostgreSQL at one moment, and writing the difference in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from psycopg2.extensions import connection as Connection

from callytics.exceptions import TargetError
from callytics.importer.convert.chunks import Conversion
from callytics.importer.outcome import Synced
from callytics.importer.plan.graph import Kind, Plan
from callytics.importer.plan.workers import Worker, WorkerPool
from callytics.importer.records.entries import SourceRecord, TableRecord
from callytics.importer.session import Session
from callytics.importer.source.reader import RowRange, Source
from callytics.importer.target.catalogue import Target
from callytics.importer.target.compare import Comparer
from callytics.importer.target.found import Found, Pair, Side, Sink
from callytics.importer.target.staging import Child, ForeignKey, ForeignKeysInTheWay, Overtaken, lockable

ATTEMPTS = 3
OVERTAKEN = (
    "rows were written in PostgreSQL again and again while they were compared: stop what writes there, and run the "
    "same command again"
)
ONLY_IT_TELLS = "since only it tells what was imported and what was changed afterwards"

Ranges = Sequence[tuple[RowRange, RowRange]]
"""Ranges of row numbers, those of the file and those of its base."""


def until_written(session: Session, attempt: Callable[[bool], Synced], *, lock: bool = False) -> Synced:
    """Try until nobody has written to the same rows meanwhile; lock the tables against writers where it must be."""
    for _ in range(ATTEMPTS):
        try:
            return attempt(lock)
        except Overtaken:
            session.connection.rollback()
        except ForeignKeysInTheWay:
            session.connection.rollback()
            lock = True
    raise TargetError(OVERTAKEN)


def begin(connection: Connection, *, lock: bool) -> str:
    """Begin a transaction that sees the database as it is now; returns the name under which others can see the same.

    With `lock` the tables can be read but not written by others until it ends. The locks come first: what a
    transaction sees is settled by its first query.
    """
    tables = lockable(connection) if lock else []
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read")
        if tables:
            cursor.execute(f"lock table {', '.join(tables)} in share row exclusive mode")
        cursor.execute("select pg_export_snapshot()")
        return str(cursor.fetchone()[0])  # type: ignore[index]


class Comparison:
    """Compares tables side by side, each by one worker; the changes go to `sink` as they are found.

    `snapshot`, `choice`, `retry` and `word` are what `Comparer` takes.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        snapshot: str | None = None,
        choice: str | None = None,
        retry: bool = True,
        word: str = "compare",
    ) -> None:
        self.sink, self.snapshot, self.choice, self.retry, self.word = sink, snapshot, choice, retry, word
        self._comparers: dict[Worker, Comparer] = {}
        self._found: dict[int, Found] = {}

    def of(self, session: Session, pairs: Sequence[Pair], ranges: Sequence[Ranges | None] = ()) -> list[Found]:
        """Return what was found of each table, or of some ranges of it, in their order.

        Raises `CallyticsError` where a comparison fails; the others are then cancelled.
        """
        plan = Plan()
        for number, pair in enumerate(pairs):
            subject = (number, pair, ranges[number] if ranges else None)
            plan.add(Kind.COMPARE, pair.record.label, size=pair.record.source_rows, subject=subject)
        actions = {Kind.COMPARE: self.compare}
        WorkerPool(session.settings, session.options, session.progress, plan, actions).run()
        return [self._found[number] for number in range(len(pairs))]

    def compare(self, worker: Worker, subject: tuple[int, Pair, Ranges | None]) -> None:
        """Compare one table."""
        number, pair, ranges = subject
        self._found[number] = self._comparer(worker).compare(pair, ranges)

    def _comparer(self, worker: Worker) -> Comparer:
        if worker not in self._comparers:
            self._comparers[worker] = Comparer(
                worker.connection,
                worker.arrow,
                self.sink,
                worker.tell,
                snapshot=self.snapshot,
                choice=self.choice,
                retry=self.retry,
                word=self.word,
            )
        return self._comparers[worker]


def base_source(session: Session, record: SourceRecord) -> Source:
    """Return what PostgreSQL was given last of a file; `SourceError` where that snapshot is gone or another."""
    return Source(session.snapshot_of(record, ONLY_IT_TELLS), record.path, session.options.limits)


def base_side(base: Source, row: TableRecord, target: Target, zone: tzinfo) -> Side:
    """Return a table as it was when it was taken last."""
    table = next(table for table in base.tables if table.name.lower() == row.source_table.lower())
    if row.mapping is None:
        return Side(base, table, None)
    mapped = next((one for one in base.table_mappings[table.name] if one.mapping.target == row.target_table), None)
    if mapped is None:
        raise TargetError(f"{base.label} was imported by mapping {row.mapping}, which this version of callytics lacks")
    return Side(base, table, Conversion(base, mapped, target.columns(row.target_table), row.offsets, zone))


def take_found(outcome: Synced, found: Sequence[Found]) -> None:
    """Take what was found of each table into an outcome, in place of what was found before."""
    outcome.clashes = [clash for one in found for clash in one.clashes]
    outcome.clashed = sum(one.clashed for one in found)
    outcome.unsolvable = sum(one.unsolvable for one in found)
    outcome.changes = [
        {
            "source_table": one.pair.record.source_table,
            "target_table": one.pair.record.target_table,
            "rows": one.rows,
            "inserted": one.inserted,
            "updated": one.updated,
            "deleted": one.deleted,
            "rejected": one.rejected,
            "clashes": one.clashed,
        }
        for one in found
    ]


def clash_on(found: Sequence[Found], row: Child, *, final: bool) -> None:
    """Count a row that refers to one that is to be deleted and that no import brought."""
    one = next(one for one in found if one.pair.record.target_table == row.parent)
    finding = f"was added in PostgreSQL and refers to a row of {row.parent} that is to be deleted"
    one.clash(row.table, row.key, (), finding, final=final)


def multirange(ranges: Iterable[Sequence[int]]) -> str:
    """Return ranges of ids, ends included, as PostgreSQL writes them."""
    return "{" + ",".join(f"[{first},{last}]" for first, last in ranges) + "}"


def validate(session: Session, run: int, keys: Iterable[ForeignKey]) -> None:
    """Validate foreign keys; those that rows without a parent keep from it stay NOT VALID, on record. Commits."""
    for table, name, definition in sorted({(key.table, key.name, key.definition) for key in keys}):
        orphans = session.target.restore_foreign_key(table, name, definition)
        session.ledger.record_orphans(run, (table, name, definition), orphans)
        session.connection.commit()
