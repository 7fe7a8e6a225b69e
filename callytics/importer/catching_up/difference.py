"""What sync and undo share: compare files with PostgreSQL at one moment, then write the difference at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from callytics.exceptions import TargetError
from callytics.importer.plan.graph import Kind, Plan
from callytics.importer.plan.workers import Worker, WorkerPool
from callytics.importer.session import Session
from callytics.importer.target.comparing.compare import Comparer, Ranges
from callytics.importer.target.comparing.found import Found, Pair, Sink
from callytics.importer.target.writing.stage import ForeignKey, ForeignKeysInTheWay, Overtaken

T = TypeVar("T")
# An application that writes to the same rows all the time could keep a sync comparing for ever.
ATTEMPTS = 3
OVERTAKEN = (
    "rows were written in PostgreSQL again and again while they were compared: stop what writes there, and run the "
    "same command again"
)


def until_written(session: Session, attempt: Callable[[bool], T], *, lock: bool = False) -> T:
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


def validate(session: Session, run: int, keys: Iterable[ForeignKey]) -> None:
    """Validate foreign keys; one with rows that lack a parent stays NOT VALID, on record. Commits after each key.

    After the changes are committed, because it scans whole tables: the locks for the changes need not last that long.
    """
    for table, name, definition in sorted({(key.table, key.name, key.definition) for key in keys}):
        orphans = session.target.restore_foreign_key(table, name, definition)
        session.ledger.record_orphans(run, (table, name, definition), orphans)
        session.connection.commit()
