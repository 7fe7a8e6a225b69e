"""The plan of an import, and what its steps do.

    load, in pieces ─▶ keys and indexes ─▶ statistics ─▶ verify, in pieces
          of each table                          └ of all tables ─▶ foreign keys ─▶ search indexes

Keys come before verification, which reads the target in key order. Statistics come after the other indexes, but before
the search indexes: with these in place, ANALYZE would also parse every sampled transcript. Foreign keys come before the
search indexes, too: declaring one locks its table and its parent, and would wait until a long build ends.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from callytics.importer.options import Limits
from callytics.importer.plan.graph import Kind, Plan, Step
from callytics.importer.plan.work import MappedWork, Work
from callytics.importer.plan.workers import Action, Worker
from callytics.importer.records.entries import Definition
from callytics.importer.records.ledger import UNMAPPED
from callytics.importer.source.reader import RowRange
from callytics.importer.target.catalogue import PRIMARY_KEY
from callytics.importer.target.comparing.verify import Verification, Verifier
from callytics.importer.target.writing.load import Loader

SEARCH = " USING gin "


@dataclass(frozen=True)
class Piece:
    """A row range of a table; verification appends what it finds to ``parts``, which all pieces of a table share."""

    work: Work
    rows: RowRange
    parts: list[Verification] = field(default_factory=list)


@dataclass(frozen=True)
class ImportPlan:
    """Builds the plan of an import from wherever it stands.

    ``definitions`` are the deferred indexes and keys that are not restored yet, ``leaves`` the partitions of each
    target. Tables that are loaded are verified again when an import is resumed: only a completed run has a verdict.
    """

    works: Sequence[Work]
    definitions: Sequence[Definition]
    leaves: Mapping[str, Sequence[str]]
    limits: Limits
    plan: Plan = field(default_factory=Plan)

    def build(self) -> Plan:
        """Return the whole plan, without loads and builds that are done already."""
        built: list[Step] = []
        by_target: dict[str, list[Work]] = defaultdict(list)
        for work in self.works:
            by_target[work.target].append(work)
        for target, works in by_target.items():
            loaded = self._loads([work for work in works if not work.record.loaded_at])
            ends = self._build(target, sum(work.record.source_rows for work in works), loaded)
            built += ends
            if self.limits.verify:
                self.verify(works, ends)
        self._add_search_indexes(by_target, self._add_foreign_keys(built))
        return self.plan

    def verify(self, works: Iterable[Work], waits: Iterable[Step] = ()) -> Plan:
        """Add the comparison of every value of some tables, once the steps in ``waits`` are done; return the plan."""
        for work in works:
            self._count("verify", work)
            parts: list[Verification] = []
            size = min(work.record.source_rows, self.limits.piece_rows)
            steps = [
                self.plan.add(Kind.VERIFY, work.record.label, size=size, waits=waits, subject=Piece(work, piece, parts))
                for piece in work.pieces
            ]
            self.plan.add(Kind.VERIFIED, work.record.label, waits=steps, subject=(work, parts))
        return self.plan

    def _count(self, verb: str, work: Work) -> None:
        self.plan.totals[f"{verb} {work.record.label}"] += work.record.source_rows

    def _loads(self, works: Sequence[Work]) -> list[Step]:
        loaded: list[Step] = []
        for work in works:
            # Of several files' codes one after the other: side by side, each could wait for a key that the other holds.
            loaded.append(self._load(work, loaded[-1:] if isinstance(work, MappedWork) and work.is_alike else ()))
        return loaded

    def _load(self, work: Work, waits: Sequence[Step]) -> Step:
        self._count("load", work)
        size = min(work.record.source_rows, self.limits.piece_rows)
        steps = [
            self.plan.add(Kind.LOAD, work.record.label, size=size, waits=waits, subject=Piece(work, piece))
            for piece in work.pieces
        ]
        return self.plan.add(Kind.LOADED, work.record.label, waits=steps, subject=work)

    def _build(self, target: str, rows: int, loaded: Sequence[Step]) -> Sequence[Step]:
        """Add the keys, indexes and statistics of a loaded table; returns the steps after which it can be verified."""
        if target == UNMAPPED:
            return loaded
        indexes = [found for found in self._of(target, "index") if SEARCH not in found.definition]
        # One step instead of several: a build of milliseconds is not worth a change of workers.
        if rows < self.limits.large_table_rows:
            subject = (target, indexes)
            return [self.plan.add(Kind.BUILD, target, size=rows, waits=loaded, subject=subject)]
        keys = {found.table: found for found in indexes if found.definition.startswith(PRIMARY_KEY)}
        after: dict[str, Sequence[Step]] = {
            leaf: [self.plan.add(Kind.KEY, target, size=rows, waits=loaded, subject=keys[leaf])]
            if leaf in keys
            else loaded
            for leaf in self.leaves[target]
        }
        others = [found for found in indexes if found not in keys.values()]
        steps = self._build_indexes(target, rows, others, after)
        waits = dict.fromkeys([*(step for steps in after.values() for step in steps), *steps])
        return [self.plan.add(Kind.ANALYZE, target, size=rows, waits=waits, subject=target)]

    def _build_indexes(
        self,
        target: str,
        rows: int,
        indexes: Sequence[Definition],
        after: Mapping[str, Sequence[Step]],
        kinds: tuple[Kind, Kind] = (Kind.SHARE, Kind.INDEX),
    ) -> list[Step]:
        """Add indexes of a table, those of a large partitioned table partition by partition, and the parent's last.

        ``after`` is what each partition waits for.
        """
        # CREATE INDEX on a partitioned table builds one partition after the other in one session, but takes over
        # indexes that the partitions already have. So workers can share the build.
        large = rows >= self.limits.large_table_rows
        leaves = [leaf for leaf in self.leaves[target] if leaf != target and large]
        everything = list(dict.fromkeys(step for steps in after.values() for step in steps))
        steps: list[Step] = []
        for found in indexes:
            shares = [
                self.plan.add(kinds[0], target, size=rows // len(leaves), waits=after[leaf], subject=(leaf, found))
                for leaf in leaves
            ]
            steps.append(self.plan.add(kinds[1], target, size=rows, waits=shares or everything, subject=found))
        return steps

    def _of(self, target: str, kind: str) -> list[Definition]:
        tables = {target, *self.leaves[target]}
        return [found for found in self.definitions if found.kind == kind and found.table in tables]

    def _add_foreign_keys(self, built: Sequence[Step]) -> Step:
        """Add the declaration of all foreign keys in one step, then their validation, table by table in parallel.

        Returns the step after which all are validated.
        """
        tables: dict[str, list[Definition]] = defaultdict(list)
        for found in self.definitions:
            if found.kind == "foreign key":
                tables[found.table].append(found)
        keys = [key for keys in tables.values() for key in keys]
        declared = self.plan.add(Kind.DECLARE, waits=built, subject=keys)
        validations = [
            self.plan.add(Kind.VALIDATE, table, waits=[declared], subject=keys) for table, keys in tables.items()
        ]
        return self.plan.add(Kind.VALIDATED, waits=validations or [declared])

    def _add_search_indexes(self, by_target: Mapping[str, Sequence[Work]], validated: Step) -> None:
        for target in self.leaves:
            rows = sum(work.record.source_rows for work in by_target[target])
            indexes = [found for found in self._of(target, "index") if SEARCH in found.definition]
            after = {leaf: [validated] for leaf in self.leaves[target]}
            self._build_indexes(target, rows, indexes, after, (Kind.SEARCH_SHARE, Kind.SEARCH))


class ImportActions:
    """What the steps of an import, or of a verification, do on a worker; ``found`` collects what verification finds.

    Each step commits its work together with the record of it, so that a resumed import neither repeats nor skips it.
    """

    def __init__(self, run: int, *, records: bool = True) -> None:
        self.run, self.records = run, records
        # By the number of the table's record.
        self.found: dict[int, Verification] = {}
        self._began: dict[int, float] = {}

    @property
    def by_kind(self) -> dict[Kind, Action]:
        """The function for each kind of step."""
        return {
            Kind.LOAD: self.load,
            Kind.LOADED: self.loaded,
            Kind.BUILD: self.build,
            Kind.KEY: self.index,
            Kind.SHARE: self.share,
            Kind.INDEX: self.index,
            Kind.ANALYZE: self.analyze,
            Kind.VERIFY: self.verify,
            Kind.VERIFIED: self.verified,
            Kind.DECLARE: self.declare,
            Kind.VALIDATE: self.validate,
            Kind.VALIDATED: self.validated,
            Kind.SEARCH_SHARE: self.share,
            Kind.SEARCH: self.index,
        }

    def load(self, worker: Worker, piece: Piece) -> None:
        """Load a piece of a table."""
        piece.work.load(_loader(worker), piece.rows)

    def loaded(self, worker: Worker, work: Work) -> None:
        """Record that a table is loaded: its chunks are not looked at again."""
        _loader(worker).finish(work.record)

    def build(self, worker: Worker, subject: tuple[str, Sequence[Definition]]) -> None:
        """Restore all indexes of a small table and refresh its statistics."""
        target, indexes = subject
        for found in indexes:
            self.index(worker, found)
        self.analyze(worker, target)

    def index(self, worker: Worker, found: Definition) -> None:
        """Restore an index or a primary key."""
        with self._timed(found, worker):
            worker.target.restore_index(found.table, found.name, found.definition)
        worker.ledger.restored(found.id)
        worker.connection.commit()

    def share(self, worker: Worker, subject: tuple[str, Definition]) -> None:
        """Build the part of an index that belongs to one partition."""
        leaf, found = subject
        # The index as a whole took as long as from its first share on.
        self._began.setdefault(found.id, time.monotonic())
        with worker.busy_with(f"index {found.name} on {leaf}"):
            worker.target.restore_share(leaf, found.definition)
        worker.connection.commit()

    def analyze(self, worker: Worker, target: str) -> None:
        """Refresh a table's statistics: verification and the application's first queries are planned with them."""
        with worker.step(self.run, "analyze", target):
            worker.target.analyze(target)
        worker.connection.commit()

    def declare(self, worker: Worker, keys: Iterable[Definition]) -> None:
        """Declare foreign keys one after the other: two workers could each hold the table that the other one needs."""
        for key in keys:
            worker.target.declare_foreign_key(key.table, key.name, key.definition)
            worker.connection.commit()

    def validate(self, worker: Worker, keys: Iterable[Definition]) -> None:
        """Validate the foreign keys of a table; one with orphans stays NOT VALID, on record."""
        for key in keys:
            with self._timed(key, worker):
                orphans = worker.target.validate_foreign_key(key.table, key.name, key.definition)
            worker.ledger.restored(key.id, orphans)
            worker.connection.commit()

    def validated(self, worker: Worker, _: None) -> None:
        """Do nothing: each search index waits for this one step instead of for every validation."""

    def verify(self, worker: Worker, piece: Piece) -> None:
        """Compare a piece of a table."""
        piece.parts.append(piece.work.verify(_verifier(worker), piece.rows))

    def verified(self, worker: Worker, subject: tuple[Work, list[Verification]]) -> None:
        """Sum up what the comparison of a table found in all its pieces, and record it where the server takes that."""
        work, parts = subject
        self.found[work.record.id] = found = _verifier(worker).conclude(work.record, parts)
        if self.records:
            worker.ledger.verified_table(work.record.id, found.rows, found.different, found.began)
        worker.connection.commit()

    def _timed(self, found: Definition, worker: Worker) -> AbstractContextManager[None]:
        return worker.step(self.run, found.kind, found.name, self._began.get(found.id))


def _loader(worker: Worker) -> Loader:
    return Loader(worker.connection, worker.arrow, worker.advance)


def _verifier(worker: Worker) -> Verifier:
    return Verifier(worker.connection, worker.arrow, worker.advance)
