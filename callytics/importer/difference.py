"""What sync and undo share: compare files with PostgreSQL at one moment, then write the difference at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from callytics.exceptions import TargetError
from callytics.importer.convert.chunks import Conversion
from callytics.importer.outcome import Synced
from callytics.importer.plan.graph import Kind, Plan
from callytics.importer.plan.workers import Worker, WorkerPool
from callytics.importer.records.entries import TableRecord
from callytics.importer.session import Session
from callytics.importer.source.reader import RowRange, Source
from callytics.importer.target.catalogue import Target
from callytics.importer.target.compare import Comparer
from callytics.importer.target.found import Found, MappedPair, Pair, Side, Sink, UnmappedPair
from callytics.importer.target.staging import SQL, Child, ForeignKey, ForeignKeysInTheWay, Overtaken, lockable
from callytics.postgres.sql import folded

# An application that writes to the same rows all the time could keep a sync comparing for ever.
ATTEMPTS = 3
OVERTAKEN = (
    "rows were written in PostgreSQL again and again while they were compared: stop what writes there, and run the "
    "same command again"
)

# Row ranges of the file, each with the row range of its base.
Ranges = Sequence[tuple[RowRange, RowRange]]


def until_written(session: Session, attempt: Callable[[bool], Synced], *, lock: bool = False) -> Synced:
    """Return the first attempt during which no one else wrote to the same rows; raises ``TargetError`` after three.

    Attempts run without locking the tables, so that the application can write, until one finds that foreign keys must
    be deferred: then the next ones lock.
    """
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


class Comparison:
    """Compares tables in parallel, each on one worker; changes go to ``sink`` as they are found.

    ``snapshot``, ``choice``, ``retry``, ``word`` and ``lenient`` are passed to ``Comparer``.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        snapshot: str | None = None,
        choice: str | None = None,
        retry: bool = True,
        word: str = "compare",
        lenient: bool = False,
    ) -> None:
        self.sink, self.snapshot, self.choice, self.retry, self.word = sink, snapshot, choice, retry, word
        self.lenient = lenient
        self._comparers: dict[Worker, Comparer] = {}
        self._found: dict[int, Found] = {}

    def of(self, session: Session, pairs: Sequence[Pair], ranges: Sequence[Ranges | None] = ()) -> list[Found]:
        """Return what was found of each pair, in their order; ``ranges`` limits a pair to some of its rows.

        Raises the first error of a comparison; the others are cancelled.
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
        # One for each worker: a transaction can take over the session's database snapshot only when it begins.
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
                lenient=self.lenient,
            )
        return self._comparers[worker]


def pair_of(record: TableRecord, base: Source | None, theirs: Source | None, target: Target, zone: tzinfo) -> Pair:
    """Return a recorded table in the file as it was and as it is; a source is None if it has no such table.

    Raises ``TargetError`` if this version of callytics lacks the mapping by which the table was imported.
    """
    if record.mapping is None:
        return UnmappedPair(record, *(_side(source, record) if source else None for source in (base, theirs)))
    columns = target.columns(record.target_table)
    return MappedPair(
        record, *(conversion_of(source, record, columns, zone) if source else None for source in (base, theirs))
    )


def _side(source: Source, record: TableRecord) -> Side:
    name = folded(record.source_table)
    return Side(source, next(table for table in source.tables if folded(table.name) == name))


def conversion_of(source: Source, record: TableRecord, columns: dict[str, str], zone: tzinfo) -> Conversion:
    """Return how the rows of a recorded table became the target's; raises like ``pair_of``."""
    # By its target: another version, or a table that gained columns, may map it by a mapping of another name.
    found = source.table_mappings[_side(source, record).table.name]
    mapped = next((one for one in found if one.mapping.target == record.target_table), None)
    if mapped is None:
        raise TargetError(
            f"{source.label} was imported by mapping {record.mapping}, which this version of callytics lacks"
        )
    return Conversion(source, mapped, columns, record.offsets, zone, record.readings)


def take_found(outcome: Synced, found: Sequence[Found]) -> None:
    """Set the changes and clashes of an outcome to what was found of each table."""
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
            "shared": one.shared,
            "handed_over": one.handed_over,
            "clashes": one.clashed,
        }
        for one in found
    ]


def clash_on(found: Sequence[Found], row: Child, *, final: bool) -> None:
    """Record a clash: a row that no import brought refers to a row that is to be deleted."""
    one = next(one for one in found if one.pair.record.target_table == row.parent)
    finding = f"was added in PostgreSQL and refers to a row of {row.parent} that is to be deleted"
    one.clash(row.table, row.key, (), finding, final=final)


def multirange(ranges: Iterable[Sequence[int]]) -> str:
    """Return ranges of ids, both ends included, as the text of an ``int8multirange``."""
    return "{" + ",".join(f"[{first},{last}]" for first, last in ranges) + "}"


def validate(session: Session, run: int, keys: Iterable[ForeignKey]) -> None:
    """Validate foreign keys; one with rows that lack a parent stays NOT VALID, on record. Commits after each key.

    After the changes are committed, because it scans whole tables: the locks for the changes need not last that long.
    """
    for table, name, definition in sorted({(key.table, key.name, key.definition) for key in keys}):
        orphans = session.target.restore_foreign_key(table, name, definition)
        session.ledger.record_orphans(run, (table, name, definition), orphans)
        session.connection.commit()
