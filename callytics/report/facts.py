"""What is recorded of imports, and what follows from it: totals, verdicts, and when what ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from psycopg2.extensions import connection as Connection

from callytics import __version__
from callytics.exceptions import TargetError
from callytics.importer.records.entries import NormalisationSummary, RejectSummary, TableSummary
from callytics.importer.records.ledger import UNMAPPED, Ledger
from callytics.report.recorded import (
    CommitEntry,
    Deferral,
    FileEntry,
    KeySummary,
    RunEntry,
    Server,
    SizeEntry,
    StepEntry,
    SyncEntry,
    ZoneChangeEntry,
    by_table,
    read,
    records,
)
from callytics.settings import Settings

# Verdicts on a run, the worst one last.
SEVERITY = ("verified", "undone", "rejects", "running", "different")
# A gap in which no step ran and that is longer than this is no part of an import's duration.
IDLE = timedelta(minutes=1)


@dataclass(frozen=True)
class Span:
    """From `start` to `end`, in seconds since the import began, without its pauses."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Return its length."""
        return self.end - self.start


@dataclass(frozen=True)
class Lane:
    """A line of the timeline: what ran, and when, by phase."""

    name: str
    spans: tuple[tuple[str, Span], ...]
    rows: int | None = None

    def seconds(self, phase: str) -> float | None:
        """Return how long the lane spent in a phase; None where it had none."""
        spans = [span.seconds for own, span in self.spans if own == phase]
        return sum(spans) if spans else None

    @property
    def total(self) -> float:
        """Return the seconds in which the lane was busy."""
        return sum(span.seconds for _, span in self.spans)


@dataclass(frozen=True)
class Import:
    """What is recorded of one import; rejects and normalisations are in order, those of most rows first."""

    run: RunEntry
    sources: list[FileEntry]
    tables: list[TableSummary]
    rejects: list[RejectSummary]
    normalisations: list[NormalisationSummary]
    not_validated: list[KeySummary]
    definitions: list[Deferral]
    steps: list[StepEntry]
    sizes: list[SizeEntry]
    syncs: list[SyncEntry]
    zone_changes: list[ZoneChangeEntry]
    chunks: list[CommitEntry] = field(repr=False)

    @property
    def id(self) -> int:
        """Return the run's number."""
        return self.run.id

    @property
    def status(self) -> str:
        """Return the verdict, or `running` or `undone`."""
        return self.run.status

    @property
    def severity(self) -> int:
        """Return the place of its verdict among others; a verdict of another version counts as the worst."""
        return SEVERITY.index(self.status) if self.status in SEVERITY else len(SEVERITY)

    @cached_property
    def source_rows(self) -> int:
        """Rows of the files; one that goes to two tables is one row."""
        return sum({(table.source_id, table.source_table): table.source_rows for table in self.tables}.values())

    @property
    def source_tables(self) -> int:
        """Return the number of tables of the files."""
        return len({(table.source_id, table.source_table) for table in self.tables})

    @property
    def loaded(self) -> int:
        """Rows in the application's tables."""
        return sum(table.loaded for table in self.tables if table.target_table != UNMAPPED)

    @property
    def unmapped(self) -> int:
        """Rows of tables that the schema has no place for, which are in `imports.unmapped` alone."""
        mapped = {(table.source_id, table.source_table) for table in self.tables if table.target_table != UNMAPPED}
        return sum(table.loaded for table in self.tables if (table.source_id, table.source_table) not in mapped)

    @property
    def rejected(self) -> int:
        """Return the rows in `imports.rejected`; one that goes to two tables may be there twice."""
        return sum(table.rejected for table in self.tables)

    @property
    def shared(self) -> int:
        """Return the rows that were there already, equal, brought by others."""
        return sum(table.shared for table in self.tables)

    @property
    def different(self) -> int:
        """Return the rows that verification found to differ."""
        return sum(table.different_rows or 0 for table in self.tables)

    @property
    def normalised(self) -> int:
        """Return the values that were loaded in another form."""
        return sum(found.rows for found in self.normalisations)

    @property
    def source_bytes(self) -> int:
        """Return the size of the files' snapshots."""
        return sum(file.size_bytes for file in self.sources)

    @property
    def grown(self) -> tuple[int, int] | None:
        """Bytes by which the tables and their indexes grew; None where that was not measured."""
        growth = [growth_of(size) for size in self.sizes]
        measured = [grown for grown in growth if grown]
        if not measured or len(measured) < len(growth):
            return None
        return sum(table for table, _ in measured), sum(index for _, index in measured)

    @property
    def resumed(self) -> int:
        """How often it was resumed after it had been cut off."""
        return sum(step.step == "resume" for step in self.steps)

    def restored(self, kind: str) -> tuple[int, int]:
        """Return how many definitions of a kind were dropped for the load, and how many are back."""
        found = [(row.dropped, row.restored) for row in self.definitions if row.kind == kind]
        return found[0] if found else (0, 0)

    @property
    def last_verified(self) -> datetime | None:
        """When it was verified last, if that was after it was finished."""
        moments = [table.verified_at for table in self.tables if table.verified_at]
        return max(moments) if moments and self.finished and max(moments) > self.finished else None

    @property
    def finished(self) -> datetime | None:
        """Return when the verdict was given; None while there is none."""
        return self.run.finished_at

    @cached_property
    def _work(self) -> list[tuple[str, str, datetime, datetime]]:
        """What ran until the verdict: phase, lane, start, end."""
        names = {table.id: table.source_table for table in self.tables}
        work = [
            ("load", table.source_table, table.started_at, table.loaded_at)
            for table in self.tables
            if table.started_at and table.loaded_at
        ]
        phases = {"snapshot": "snapshot", "verify": "verify"}
        work += [
            (
                phases.get(step.step, "build"),
                step.step if step.table_id is None else names.get(step.table_id, step.step),
                step.started_at,
                step.finished_at,
            )
            for step in self.steps
            if step.step != "resume" and (self.finished is None or step.finished_at <= self.finished)
        ]
        return sorted(work, key=lambda item: item[2:])

    @cached_property
    def _pauses(self) -> list[tuple[datetime, datetime]]:
        """When it stood still: from its last sign of life to being resumed, and long gaps."""
        signs = sorted(
            [moment for _, _, *moments in self._work for moment in moments]
            + [chunk.committed_at for chunk in self.chunks]
        )
        resumes = [step.started_at for step in self.steps if step.step == "resume"]
        pauses = [(max(before), moment) for moment in resumes if (before := [sign for sign in signs if sign < moment])]
        return _merged([*pauses, *self._gaps()])

    def _gaps(self) -> Iterator[tuple[datetime, datetime]]:
        until: datetime | None = None
        for _, _, start, end in self._work:
            if until and start - until > IDLE:
                yield until, start
            until = max(until or end, end)

    def _span(self, start: datetime, end: datetime) -> Span:
        return Span(self._active(start), self._active(end))

    def _active(self, moment: datetime) -> float:
        # The snapshots are taken before the run is recorded, so that the run's own start would come too late.
        origin = self._work[0][2] if self._work else self.run.started_at
        idle = sum((min(end, moment) - start for start, end in self._pauses if start < moment), timedelta())
        return float((moment - origin - idle).total_seconds())

    @cached_property
    def lanes(self) -> list[Lane]:
        """The timeline: the snapshots, each source table, and what was built, in the order in which they began."""
        spans: dict[str, list[tuple[str, Span]]] = {}
        for phase, name, start, end in self._work:
            spans.setdefault(name, []).append((phase, self._span(start, end)))
        rows: dict[str, int] = {}
        for table in {(table.source_id, table.source_table): table for table in self.tables}.values():
            rows[table.source_table] = rows.get(table.source_table, 0) + table.source_rows
        return [Lane(name, tuple(own), rows.get(name)) for name, own in spans.items()]

    @cached_property
    def phases(self) -> dict[str, tuple[Span, float]]:
        """Each phase from its first step to its last, and the seconds in which something of it ran."""
        found: dict[str, list[Span]] = {}
        for lane in self.lanes:
            for phase, span in lane.spans:
                found.setdefault(phase, []).append(span)
        return {
            phase: (Span(min(s.start for s in spans), max(s.end for s in spans)), _covered(spans))
            for phase, spans in sorted(found.items(), key=lambda item: min(span.start for span in item[1]))
        }

    @property
    def seconds(self) -> float | None:
        """How long it took from the first snapshot to the verdict, without pauses; None while unfinished."""
        return self._active(self.finished) if self.finished else None

    @cached_property
    def progress(self) -> list[tuple[float, int]]:
        """Rows committed so far, at seconds since the load began."""
        began = self.phases["load"][0].start if "load" in self.phases else 0.0
        done, found = 0, [(0.0, 0)]
        for chunk in self.chunks:
            done += chunk.rows
            found.append((max(0.0, self._active(chunk.committed_at) - began), done))
        return found


@dataclass(frozen=True)
class Facts:
    """The imports of a database, the oldest first, and where and when they were asked for."""

    imports: list[Import]
    host: str
    database: str
    server: str
    version: str
    written_at: datetime

    @property
    def worst(self) -> Import:
        """Return the import with the worst verdict, which is the report's."""
        return max(self.imports, key=lambda one: one.severity)


def gather(settings: Settings, run: int | None = None) -> Facts:
    """Return what is recorded of a run, or of all runs; `TargetError` where there is none."""
    with records(settings) as connection:
        runs = read(connection, RunEntry, "runs", run)
        if not runs:
            raise TargetError(_none(run))
        (server,) = read(connection, Server, "server")
        imports = [_import(connection, one) for one in runs]
        host = ", ".join(f"{host}:{settings.port}" for host in settings.hosts)
        return Facts(imports, host, server.database, server.version, __version__, datetime.now(UTC))


def _none(run: int | None) -> str:
    if run is None:
        return "there is no import to report: run 'callytics import FILE' first"
    return f"there is no import {run} to report: 'callytics report' tells of all there are"


def _import(connection: Connection, run: RunEntry) -> Import:
    ledger = Ledger(connection)
    return Import(
        run,
        sources=read(connection, FileEntry, "sources", run.id),
        tables=ledger.summary(run.id),
        rejects=sorted(ledger.rejects(run.id), key=lambda reject: -reject.rows),
        normalisations=sorted(ledger.normalisations(run.id), key=lambda found: -found.rows),
        not_validated=by_table(ledger.not_validated(run.id)),
        definitions=read(connection, Deferral, "definitions", run.id),
        steps=read(connection, StepEntry, "steps", run.id),
        sizes=read(connection, SizeEntry, "sizes", run.id),
        syncs=read(connection, SyncEntry, "syncs", run.id),
        zone_changes=read(connection, ZoneChangeEntry, "zone_changes", run.id),
        chunks=read(connection, CommitEntry, "chunks", run.id),
    )


def growth_of(size: SizeEntry) -> tuple[int, int] | None:
    """Return the bytes by which a table and its indexes grew; None where that was not measured."""
    if size.table_bytes_after is None or size.index_bytes_after is None:
        return None
    return size.table_bytes_after - size.table_bytes_before, size.index_bytes_after - size.index_bytes_before


def _merged(pauses: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(pauses):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _covered(spans: Sequence[Span]) -> float:
    """Return the seconds that at least one of the spans covers."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda one: one.start):
        total += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total
