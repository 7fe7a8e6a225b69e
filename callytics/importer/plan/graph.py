"""The course of a run: which steps there are, and what each has to wait for.

    load, in pieces ─▶ keys and indexes ─▶ statistics ─▶ verify, in pieces
          of each table                          └ of all tables ─▶ foreign keys ─▶ search indexes

Statistics come before the search indexes: with those in place ANALYZE would parse every sampled transcript, too.
Foreign keys are declared before anything long is built that would keep them waiting.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from callytics.importer.convert.chunks import Conversion
from callytics.importer.plan.workers import Crew, Rank, Step, Worker
from callytics.importer.records.entries import Definition, TableRecord
from callytics.importer.records.ledger import UNMAPPED
from callytics.importer.source.reader import EVERYTHING, PIECE_ROWS, RowRange, Source, SourceTable
from callytics.importer.target.catalogue import PRIMARY_KEY
from callytics.importer.target.verify import Verification

LARGE_TABLE_ROWS = 50_000
"""A table of more rows gives its primary key away for the load, and has its indexes built side by side."""
SEARCH = " USING gin "


@dataclass(frozen=True)
class Work:
    """One row of imports.tables, ready to be loaded or verified; `conversion` is None for what is kept as unmapped."""

    record: TableRecord
    source: Source
    table: SourceTable
    conversion: Conversion | None

    @property
    def target(self) -> str:
        return self.conversion.target if self.conversion else UNMAPPED

    @property
    def pieces(self) -> list[RowRange]:
        """The ranges of rows that can be loaded or verified side by side."""
        return self.source.pieces(self.table) if self.conversion else [EVERYTHING]


class Countdown:
    """Calls `then` once it was called `count` times itself; at once where that is 0."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self.count, self.then, self.lock = count, then, threading.Lock()
        if not count:
            then()

    def __call__(self) -> None:
        with self.lock:
            self.count -= 1
            last = self.count == 0
        if last:
            self.then()


@dataclass
class Course:
    """Adds the steps of one run to a crew, from wherever it stands; what verification finds is in `found`.

    `definitions` are what stepped aside and is not back; `leaves` are the partitions of each target table.
    """

    crew: Crew
    run: int
    works: Sequence[Work]
    definitions: Sequence[Definition]
    leaves: dict[str, list[str]]

    def __post_init__(self) -> None:
        self.found: list[Verification] = []
        self._began: dict[int, float] = {}
        self._targets: dict[str, list[Work]] = defaultdict(list)
        for work in self.works:
            self._targets[work.target].append(work)
            for verb in ("load", "verify"):
                self.crew.totals[f"{verb} {work.record.label}"] += work.record.source_rows

    def begin(self) -> None:
        """Add what can be done now; all else follows."""
        built = Countdown(len(self._targets), self._add_foreign_keys)
        for target, works in self._targets.items():
            loaded = Countdown(len(works), partial(self._build, target, built))
            for work in works:
                if work.record.loaded_at:
                    loaded()
                else:
                    self._load(work, loaded)

    def verify(self, works: Iterable[Work]) -> None:
        """Add the comparison of every value of some tables, which must be loaded and have their keys."""
        for work in works:
            parts: list[Verification] = []
            steps = [self._step(Rank.VERIFY, work, _verify, parts, piece) for piece in work.pieces]
            self.crew.add(steps, partial(self._conclude, work, parts))

    def _step(self, rank: Rank, work: Work, do: Callable[..., None], *arguments: object) -> Step:
        return Step(rank, min(work.record.source_rows, PIECE_ROWS), lambda worker: do(worker, work, *arguments))

    def _conclude(self, work: Work, parts: list[Verification]) -> None:
        def conclude(worker: Worker) -> None:
            self.found.append(worker.verifier.conclude(work.record, parts))

        self.crew.add([Step(Rank.NOTE, 0, conclude)], lambda: None)

    # --- load -----------------------------------------------------------------------------------------------------

    def _load(self, work: Work, then: Callable[[], None]) -> None:
        def finish() -> None:
            self.crew.add([Step(Rank.NOTE, 0, lambda worker: worker.loader.finish(work.record))], then)

        self.crew.add([self._step(Rank.LOAD, work, _load, piece) for piece in work.pieces], finish)

    # --- indexes --------------------------------------------------------------------------------------------------

    def _build(self, target: str, then: Callable[[], None]) -> None:
        """Build what a loaded table needs to be read, then verify it."""
        if target == UNMAPPED:
            self._built(target, then)
            return
        rows = sum(work.record.source_rows for work in self._targets[target])
        indexes = [found for found in self._of(target, "index") if SEARCH not in found.definition]
        done = partial(self._built, target, then)
        analyze = Step(Rank.BUILD, rows, partial(self._analyze, target))
        if rows < LARGE_TABLE_ROWS:
            finish = Step(Rank.BUILD, rows, partial(self._restore_all, indexes, analyze))
            self.crew.add([finish], done)
            return
        keys = [found for found in indexes if found.definition.startswith(PRIMARY_KEY)]
        others = [found for found in indexes if found not in keys]
        self.crew.add(
            [Step(Rank.BUILD, rows, partial(self._restore, found)) for found in keys],
            lambda: self._build_shares(target, others, lambda: self.crew.add([analyze], done)),
        )

    def _build_shares(self, target: str, indexes: Sequence[Definition], then: Callable[[], None]) -> None:
        """Build indexes of a table side by side, of a large one partition by partition where it has any."""
        rows = sum(work.record.source_rows for work in self._targets[target])
        leaves = [leaf for leaf in self.leaves[target] if leaf != target and rows >= LARGE_TABLE_ROWS]
        shares = [
            Step(Rank.BUILD, rows // len(leaves), partial(self._restore_share, leaf, found))
            for found in indexes
            for leaf in leaves
        ]
        whole = [Step(Rank.BUILD, rows, partial(self._restore, found)) for found in indexes]
        self.crew.add(shares, lambda: self.crew.add(whole, then))

    def _built(self, target: str, then: Callable[[], None]) -> None:
        self.verify(self._targets[target])
        then()

    def _of(self, target: str, kind: str) -> list[Definition]:
        tables = {target, *self.leaves[target]}
        return [found for found in self.definitions if found.kind == kind and found.table in tables]

    def _restore_all(self, indexes: Iterable[Definition], analyze: Step, worker: Worker) -> None:
        for found in indexes:
            self._restore(found, worker)
        analyze.do(worker)

    def _restore(self, found: Definition, worker: Worker) -> None:
        with self._timed(found, worker):
            worker.target.restore_index(found.table, found.name, found.definition)
        worker.ledger.restored(found.id)
        worker.rows.commit()

    def _restore_share(self, leaf: str, found: Definition, worker: Worker) -> None:
        self._began.setdefault(found.id, time.monotonic())
        with worker.busy_with(f"index {found.name} on {leaf}"):
            worker.target.restore_share(leaf, found.definition)
        worker.rows.commit()

    def _timed(self, found: Definition, worker: Worker) -> AbstractContextManager[None]:
        return worker.step(self.run, found.kind, found.name, self._began.get(found.id))

    def _analyze(self, target: str, worker: Worker) -> None:
        with worker.step(self.run, "analyze", target):
            worker.target.analyze(target)
        worker.rows.commit()

    # --- foreign keys, then search indexes ------------------------------------------------------------------------

    def _add_foreign_keys(self) -> None:
        """Declare all foreign keys, one after the other, then validate those of different tables side by side."""
        tables: dict[str, list[Definition]] = defaultdict(list)
        for found in self.definitions:
            if found.kind == "foreign key":
                tables[found.table].append(found)
        steps = [Step(Rank.BUILD, 0, partial(self._validate, keys)) for keys in tables.values()]
        declare = Step(Rank.NOTE, 0, partial(self._declare, [key for keys in tables.values() for key in keys]))
        self.crew.add([declare], lambda: self.crew.add(steps, self._add_search_indexes))

    def _declare(self, keys: Iterable[Definition], worker: Worker) -> None:
        for key in keys:
            worker.target.declare_foreign_key(key.table, key.name, key.definition)
            worker.rows.commit()

    def _validate(self, keys: Iterable[Definition], worker: Worker) -> None:
        for key in keys:
            with self._timed(key, worker):
                orphans = worker.target.validate_foreign_key(key.table, key.name, key.definition)
            worker.ledger.restored(key.id, orphans)
            worker.rows.commit()

    def _add_search_indexes(self) -> None:
        for target in self.leaves:
            indexes = [found for found in self._of(target, "index") if SEARCH in found.definition]
            self._build_shares(target, indexes, lambda: None)


def _load(worker: Worker, work: Work, piece: RowRange) -> None:
    if work.conversion:
        worker.loader.load(work.record, work.conversion, piece)
    else:
        worker.loader.keep(work.record, work.source, work.table)


def _verify(worker: Worker, work: Work, parts: list[Verification], piece: RowRange) -> None:
    if work.conversion:
        parts.append(worker.verifier.verify(work.record, work.conversion, piece))
    else:
        parts.append(worker.verifier.verify_kept(work.record, work.source, work.table))
