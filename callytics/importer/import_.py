"""Runs: from files to a verified import, and whatever can be asked of one later.

snapshot → plan (one row of imports.tables a source table and target) → load, build, verify (course.py) → verdict
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import adbc_driver_manager
import psycopg2
import psycopg2.errors

from callytics import __version__
from callytics.cli.interrupt import interruptible_connection
from callytics.cli.progress import PHASE
from callytics.exceptions import DatabaseUnavailable, Interrupted, SourceError, TargetError
from callytics.importer.convert.chunks import Conversion
from callytics.importer.convert.values import zone_named
from callytics.importer.plan.graph import LARGE_TABLE_ROWS, Course, Work
from callytics.importer.plan.ids import Relatives, id_offsets, reserve_ids
from callytics.importer.plan.workers import Crew, Worker
from callytics.importer.profile import Profile, profile_file
from callytics.importer.records.entries import (
    NormalisationSummary,
    OrphanedKey,
    RejectSummary,
    SourceRecord,
    TableRecord,
    TableSummary,
)
from callytics.importer.records.ledger import UNMAPPED, Ledger
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot, file_sha256, scratch_folder, take_snapshot
from callytics.importer.target.catalogue import Target
from callytics.importer.target.load import Progress, import_connection
from callytics.importer.target.verify import Difference, Verification
from callytics.settings import Settings

EXIT_CODES = {"verified": 0, "rejects": 3, "different": 4}
"""The process's exit code for each verdict on a run."""
GO_ON = "run the same command again to go on from there"
INTERRUPTED = f"interrupted; what was committed stays: {GO_ON}"

CONNECTION_LOST = ("08", "57")
"""SQLSTATE classes of a server that is gone or going (https://www.postgresql.org/docs/15/errcodes-appendix.html)."""


@dataclass(frozen=True)
class Options:
    """How to import: where snapshots are kept, where timestamps without offset were written, how many at once."""

    snapshots: Path = Path("callytics-imports")
    timezone: str = "UTC"
    strict: bool = False
    jobs: int = 2
    again: bool = False


@dataclass
class Outcome:
    """What became of a command: notes for the user, the runs concerned, and what verification found."""

    status: str = "verified"
    runs: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[TableSummary] = field(default_factory=list)
    rejects: list[RejectSummary] = field(default_factory=list)
    normalisations: list[NormalisationSummary] = field(default_factory=list)
    not_validated: list[OrphanedKey] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    def add_run(self, run: int, status: str, ledger: Ledger) -> None:
        """Take a run's records into the outcome; the worst verdict counts."""
        self.runs.append(run)
        self.status = max(self.status, status, key=lambda verdict: EXIT_CODES[verdict])
        self.tables += ledger.summary(run)
        self.rejects += ledger.rejects(run)
        self.normalisations += ledger.normalisations(run)
        self.not_validated += ledger.not_validated(run)


def inspect_file(file: Path, options: Options, progress: Progress) -> Profile:
    """Tell what is in a file and what an import would do with it; needs no server and writes nothing that stays."""
    with _borrowed_snapshot(file, options) as snapshot:
        return profile_file(Source(snapshot.path, str(file)), snapshot, _zone(options.timezone), progress)


def check_target(settings: Settings) -> None:
    """Raise `CallyticsError` where an import could not begin: unreachable, not migrated, no rights."""
    with _failures(settings), closing(import_connection(settings)) as connection:
        Target(connection).check_ready()


def holds_calls(settings: Settings) -> bool:
    """Tell whether the target has recordings already."""
    with _failures(settings), closing(import_connection(settings)) as connection:
        target = Target(connection)
        target.check_ready()
        return not target.is_empty("audio_files")


def import_files(settings: Settings, files: Sequence[Path], options: Options, progress: Progress) -> Outcome:
    """Import files together: parents before children across them, each content once.

    Goes on with an unfinished import of the same files. Raises `CallyticsError` when refused or failed; what was
    committed until then stays, and the same command goes on from there.
    """
    _zone(options.timezone)
    with _failures(settings), interruptible_connection(settings) as connection:
        target, ledger = Target(connection), Ledger(connection)
        target.check_ready()
        target.lock()
        outcome = Outcome()
        rest = _finish_unfinished(settings, files, ledger, outcome, options, progress)
        if rest:
            _import_new(settings, rest, ledger, outcome, options, progress)
        return outcome


def verify_files(settings: Settings, files: Sequence[Path], options: Options, progress: Progress) -> Outcome:
    """Compare every value of imported files with what PostgreSQL holds now."""
    with _failures(settings), interruptible_connection(settings) as connection:
        Target(connection).check_ready()
        ledger, outcome = Ledger(connection), Outcome()
        found: dict[int, list[Verification]] = {}
        for file in files:
            with _borrowed_snapshot(file, options) as snapshot:
                record = _imported(ledger, snapshot)
                works = list(_works(ledger, record, snapshot.path))
                found.setdefault(record.run, []).extend(
                    _verify(settings, record.run, works, ledger, options.jobs, progress)
                )
        for run, verifications in found.items():
            _conclude(ledger, outcome, run, verifications)
        return outcome


def _import_new(
    settings: Settings,
    files: Sequence[Path],
    ledger: Ledger,
    outcome: Outcome,
    options: Options,
    progress: Progress,
) -> None:
    with _discarded_on_failure(options.snapshots, ledger) as snapshots:
        _take_new(files, ledger, outcome, options, snapshots, progress)
        if not snapshots:
            return
        for snapshot in snapshots if options.strict else ():
            source = Source(snapshot.path, str(snapshot.source))
            profile_file(source, snapshot, _zone(options.timezone), progress).refuse_unclean()
        run = _begin(ledger, snapshots, outcome.runs, options)
    _go_on(settings, run, ledger, outcome, options, progress)


def _take_new(
    files: Sequence[Path],
    ledger: Ledger,
    outcome: Outcome,
    options: Options,
    snapshots: list[Snapshot],
    progress: Progress,
) -> None:
    """Add snapshots to the list; a content that was imported already is said so, and left alone."""
    for file in files:
        progress(f"snapshot {file.name}", 0, 1)
        snapshot = take_snapshot(file, options.snapshots)
        progress(f"snapshot {file.name}", 1, 1)
        known = ledger.source_by_sha256(snapshot.sha256)
        if known:
            outcome.notes.append(
                f"{file}: already imported (import {known.run}, {known.status}, same SHA-256 {known.sha256[:12]}): "
                "nothing changed"
            )
            if known.run not in outcome.runs:
                outcome.add_run(known.run, known.status, ledger)
            continue
        twin = next((other for other in snapshots if other.sha256 == snapshot.sha256), None)
        snapshots.append(snapshot)
        if twin:
            raise SourceError(f"{file} has the same content as {twin.source}: name it once")
        if not options.again:
            _refuse_changed(snapshot, ledger)
        Source(snapshot.path, str(file)).tables  # noqa: B018 - refuses a file without tables


def _refuse_changed(snapshot: Snapshot, ledger: Ledger) -> None:
    """Refuse a file that was imported when its content was another: its old rows would come a second time."""
    if earlier := ledger.run_of_path(snapshot.source):
        raise SourceError(
            f"{snapshot.source} has changed since import {earlier[0]}, and importing it now would add all its rows a "
            "second time: 'callytics sync' brings over what has changed; name --again if all rows are meant, as for "
            "the file of another installation"
        )


def _finish_unfinished(
    settings: Settings,
    files: Sequence[Path],
    ledger: Ledger,
    outcome: Outcome,
    options: Options,
    progress: Progress,
) -> list[Path]:
    """Go on with an import that was cut off, if it is of these files; returns the files that were not part of it."""
    # Not Path.resolve(), which fails on links in a circle: what is wrong with a file is said when it is read.
    named = {os.path.realpath(file): file for file in files}
    for run, paths in ledger.unfinished_runs():
        if not set(paths) <= set(named):
            raise TargetError(f"import {run} is unfinished: first run 'callytics import {' '.join(paths)}'")
        outcome.notes.append(
            f"going on with import {run}, which was cut off, from its snapshot: what was written to the files since "
            "then is not in it"
        )
        with ledger.step(run, "resume", ""):
            _check_snapshots(run, ledger)
        _go_on(settings, run, ledger, outcome, options, progress)
        for path in paths:
            del named[path]
    return list(named.values())


# --- plan -----------------------------------------------------------------------------------------------------------


def _begin(ledger: Ledger, snapshots: Sequence[Snapshot], named: Sequence[int], options: Options) -> int:
    """Write the plan of a run down, in one transaction: which table goes where, with which ids.

    `named` are the earlier runs whose files were named along with these: references may lead there.
    """
    target = Target(ledger.connection)
    sources = [Source(snapshot.path, str(snapshot.source)) for snapshot in snapshots]
    table_mappings = [
        table_mapping
        for source in sources
        for table_mappings in source.table_mappings.values()
        for table_mapping in table_mappings
    ]
    for table in {table_mapping.mapping.target for table_mapping in table_mappings}:
        target.columns(table)
    if any(table_mapping.mapping.target == "topics" for table_mapping in table_mappings):
        target.drop_untouched_topic()
    families = id_offsets(sources, target)
    reserve_ids(sources, families, target)
    run = ledger.add_run(__version__, options.timezone)
    for source, snapshot in zip(sources, snapshots, strict=True):
        number = ledger.add_source(run, snapshot)
        for record in _table_records(source, Relatives(sources, families, ledger, named)):
            ledger.add_table(number, record)
    ledger.measure_before(run)
    ledger.connection.commit()
    return run


def _table_records(source: Source, relatives: Relatives) -> Iterator[TableRecord]:
    for table in source.tables:
        own = relatives.families.get((source.path, table.name.lower()), 0)
        rows = source.counts[table.name]
        for table_mapping in source.table_mappings[table.name]:
            offsets = {
                column: relatives.offset(source, table_mapping, parent)
                for column, parent in table_mapping.mapping.references.items()
            }
            if table_mapping.mapping.key not in table_mapping.mapping.references:
                offsets[table_mapping.mapping.key] = own
            moved = {column: offset for column, offset in offsets.items() if offset}
            yield TableRecord(
                0, table.name, table_mapping.mapping.name, table_mapping.mapping.target, (), own, moved, rows, None
            )
        if unmapped := source.unmapped_columns(table):
            yield TableRecord(0, table.name, None, UNMAPPED, unmapped, 0, {}, rows, None)


def _works(ledger: Ledger, record: SourceRecord, snapshot: Path) -> Iterator[Work]:
    """Yield what a recorded source consists of."""
    source = Source(snapshot, record.path)
    zone = _zone(record.timezone)
    tables = {table.name: table for table in source.tables}
    target = Target(ledger.connection)
    for row in ledger.tables(record.id):
        table = tables[row.source_table]
        table_mapping = next((b for b in source.table_mappings[table.name] if b.mapping.name == row.mapping), None)
        if row.mapping and not table_mapping:
            raise TargetError(f"import {record.run} used mapping {row.mapping}, which this version of callytics lacks")
        conversion = (
            Conversion(source, table_mapping, target.columns(row.target_table), row.offsets, zone)
            if table_mapping
            else None
        )
        yield Work(row, source, table, conversion)


# --- load, restore, verify ------------------------------------------------------------------------------------------


def _go_on(
    settings: Settings, run: int, ledger: Ledger, outcome: Outcome, options: Options, progress: Progress
) -> None:
    """Bring a run from wherever it stands to its verdict."""
    works = [work for record in ledger.sources(run) for work in _works(ledger, record, Path(record.snapshot_path))]
    target = Target(ledger.connection)
    _prepare(run, works, ledger, target)
    crew = Crew(settings, options.jobs, progress)
    leaves = {work.target: target.leaves(work.target) for work in works if work.conversion}
    course = Course(crew, run, works, ledger.definitions_to_restore(run), leaves)
    ledger.connection.commit()
    course.begin()
    try:
        _run(crew, ledger)
    except DatabaseUnavailable as error:
        # A worker could not connect, while the server goes down or comes back.
        raise DatabaseUnavailable(f"{error}; {GO_ON}") from error
    _finish(works, ledger, target)
    _conclude(ledger, outcome, run, course.found)


def _run(crew: Crew, ledger: Ledger) -> None:
    """Have a crew do its steps; tells now and then how far the server is with what it does for the workers."""
    target = Target(ledger.connection)

    def watch(workers: Sequence[Worker]) -> None:
        busy = {worker.pid: worker.doing for worker in workers if worker.doing}
        for pid, (phase, done, total) in target.busy(list(busy)).items() if busy else ():
            crew.tell(f"{busy[pid]}{PHASE}{phase}", done, total)
        ledger.connection.commit()

    crew.run(watch)


def _check_snapshots(run: int, ledger: Ledger) -> None:
    """Refuse to go on with other snapshots than those that the run was started with."""
    for record in ledger.sources(run):
        path = Path(record.snapshot_path)
        if not path.exists():
            raise SourceError(f"the snapshot {path} of import {run} is gone: put it back, the import needs it to go on")
        if file_sha256(path) != record.sha256:
            raise SourceError(f"the snapshot {path} of import {run} was changed: put back the one that was taken")


def _prepare(run: int, works: Sequence[Work], ledger: Ledger, target: Target) -> None:
    """Make partitions, and let indexes and keys step aside once their definitions are recorded."""
    todo = [work.conversion for work in works if work.conversion and not work.record.loaded_at]
    for conversion in todo:
        if target.is_partitioned(conversion.target):
            target.ensure_months(conversion.target, conversion.source.months(conversion.table_mapping))
    _set_aside(run, target.definitions(sorted({conversion.target for conversion in todo})), ledger, target)
    # After the foreign keys that need them.
    large = _large_targets(works) & {conversion.target for conversion in todo}
    _set_aside(run, target.primary_keys(sorted(large)), ledger, target)
    ledger.connection.commit()


def _large_targets(works: Sequence[Work]) -> set[str]:
    """Return the tables that many rows go to, none of which can have the id of another."""
    rows: Counter[str] = Counter()
    for work in works:
        rows[work.target] += work.record.source_rows
    uncertain = {
        work.target
        for work in works
        if not work.conversion or not work.source.key_is_rowid(work.conversion.table_mapping)
    }
    return {target for target in rows if rows[target] >= LARGE_TABLE_ROWS} - uncertain


def _set_aside(run: int, definitions: Sequence[tuple[str, str, str, str]], ledger: Ledger, target: Target) -> None:
    for kind, table, name, definition in definitions:
        ledger.add_definition(run, kind, table, name, definition)
        target.set_aside(kind, table, name)


def _finish(works: Sequence[Work], ledger: Ledger, target: Target) -> None:
    """Put sequences past every id."""
    for work in works:
        if work.conversion and work.conversion.key not in work.conversion.table_mapping.mapping.references:
            target.set_sequence(work.conversion.target, work.source.sequence(work.table) + work.record.id_offset)
    target.restore_topic()
    ledger.connection.commit()


def _verify(
    settings: Settings, run: int, works: Sequence[Work], ledger: Ledger, jobs: int, progress: Progress
) -> list[Verification]:
    crew = Crew(settings, jobs, progress)
    course = Course(crew, run, works, (), {})
    course.verify(works)
    _run(crew, ledger)
    return course.found


def _conclude(ledger: Ledger, outcome: Outcome, run: int, found: Sequence[Verification]) -> None:
    """Write the verdict down."""
    outcome.differences += [difference for one in found for difference in one.examples]
    tables = ledger.summary(run)
    rejected = any(table.rejected for table in tables)
    different = any(table.different_rows for table in tables)
    status = "different" if different else "rejects" if rejected else "verified"
    ledger.measure_after(run)
    ledger.finish_run(run, status)
    ledger.connection.commit()
    if run not in outcome.runs:
        outcome.add_run(run, status, ledger)


# --- snapshots that are only looked at, and errors ------------------------------------------------------------------


@contextmanager
def _borrowed_snapshot(file: Path, options: Options) -> Iterator[Snapshot]:
    """Yield a snapshot in a folder of its own, which is removed afterwards: no import works with this copy."""
    with _no_new_folders(options.snapshots), scratch_folder(options.snapshots) as folder:
        yield take_snapshot(file, folder)


@contextmanager
def _discarded_on_failure(folder: Path, ledger: Ledger) -> Iterator[list[Snapshot]]:
    """Yield a list of snapshots; where the import does not begin, those that are new in the folder are removed.

    Whether it began is what the records say: an error may come after they were committed.
    """
    before = set(folder.glob("*.sqlite"))
    snapshots: list[Snapshot] = []
    with _no_new_folders(folder):
        try:
            yield snapshots
        except BaseException:
            # Where the records can't be read, too much is kept rather than too little.
            with suppress(psycopg2.Error):
                ledger.connection.rollback()
                for path in {snapshot.path for snapshot in snapshots} - before - set(map(Path, ledger.own_snapshots())):
                    path.unlink(missing_ok=True)
                ledger.connection.rollback()
            raise


@contextmanager
def _no_new_folders(folder: Path) -> Iterator[None]:
    """Remove the folder and its parents afterwards, as far as they are new and hold nothing."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in missing:
            # One that holds something, or was never made, stays as it is.
            with suppress(OSError):
                path.rmdir()


def _imported(ledger: Ledger, snapshot: Snapshot) -> SourceRecord:
    """Return the record of a file's import; say what to do where its content never came in."""
    if record := ledger.source_by_sha256(snapshot.sha256):
        if record.status == "running":
            raise TargetError(f"import {record.run} of {record.path} is unfinished: {GO_ON} ('callytics import')")
        return record
    if earlier := ledger.run_of_path(snapshot.source):
        run, path = earlier
        raise SourceError(
            f"{snapshot.source} has changed since import {run}: bring the changes over with 'callytics sync', or "
            f"verify what was imported with 'callytics verify {path}'"
        )
    raise SourceError(f"{snapshot.source} was never imported here: run 'callytics import {snapshot.source}'")


def _zone(name: str) -> Any:
    try:
        return zone_named(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SourceError(f"{name} is not a time zone: use a name such as UTC or Asia/Seoul") from error


@contextmanager
def _failures(settings: Settings) -> Iterator[None]:
    """Turn what PostgreSQL says, and Ctrl-C, into one line without anybody's data."""
    user = settings.login(owner=True)[0]
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(INTERRUPTED) from error
    except psycopg2.errors.InsufficientPrivilege as error:
        raise TargetError(
            f"role {user} may not do this ({_first_line(error)}): set POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD "
            "to the role that migrates"
        ) from error
    except psycopg2.errors.DiskFull as error:
        raise TargetError(f"PostgreSQL has no disk space left: free some, then {GO_ON}") from error
    except psycopg2.Error as error:
        if error.pgcode and not error.pgcode.startswith(CONNECTION_LOST):
            # Not its message, which can quote a value: somebody's words.
            raise TargetError(
                f"PostgreSQL refused the import (SQLSTATE {error.pgcode}): {GO_ON} once that is put right"
            ) from error
        if not isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            raise
        raise DatabaseUnavailable(f"the connection to PostgreSQL was lost ({_first_line(error)}): {GO_ON}") from error
    except adbc_driver_manager.Error as error:
        raise _arrow_error(error) from error


def _first_line(error: psycopg2.Error) -> str:
    return (error.diag.message_primary or str(error).strip() or type(error).__name__).splitlines()[0]


def _arrow_error(error: adbc_driver_manager.Error) -> TargetError | DatabaseUnavailable:
    if error.sqlstate == "53100":
        return TargetError(f"PostgreSQL has no disk space left: free some, then {GO_ON}")
    if error.sqlstate in (None, "", "\0\0\0\0\0") or (error.sqlstate or "").startswith(CONNECTION_LOST):
        return DatabaseUnavailable(f"the connection to PostgreSQL was lost: {GO_ON}")
    return TargetError(f"PostgreSQL refused the load (SQLSTATE {error.sqlstate}): {GO_ON} once that is put right")
