"""Import: from files to a verified import.

snapshot → records (one row of imports.tables per source table and target) → load, build, verify by a plan → verdict

The records are committed before the first row is loaded, and every later step is recorded in the transaction that does
it. So whatever ends an import, the same command finds out from the records what is left to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from callytics import __version__
from callytics.exceptions import DatabaseUnavailable, SnapshotUnreadable, SourceError
from callytics.importer.catching_up.difference import validate
from callytics.importer.convert.zones import Reading
from callytics.importer.limits import refuse_beyond
from callytics.importer.options import PHASE, Options, Progress
from callytics.importer.outcome import Outcome
from callytics.importer.plan.graph import Plan
from callytics.importer.plan.ids import References, id_offsets, planned_ids, reserve_ids
from callytics.importer.plan.importing import ImportActions, ImportPlan
from callytics.importer.plan.work import MappedWork, Work, recorded_works, unrecorded_works
from callytics.importer.plan.workers import Worker, WorkerPool
from callytics.importer.plan.zones import Choice, table_records, time_names
from callytics.importer.preparation import large_targets, note_room, prepare
from callytics.importer.profile import profile_file
from callytics.importer.records.entries import Definition, SourceRecord
from callytics.importer.session import (
    ONLY_IT_TELLS,
    RESUME,
    Session,
    borrowed_snapshot,
    no_new_folders,
    open_session,
    unfinished,
)
from callytics.importer.source.mapping import missing_databases
from callytics.importer.source.overlap import overlap
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot
from callytics.importer.source.taking import take_all
from callytics.importer.target.writing.staging import Staging
from callytics.postgres.text import counted, quoted, shell_word
from callytics.settings import Settings


def check_target(settings: Settings, files: Sequence[Path], options: Options) -> None:
    """Raise ``CallyticsError`` if an import of the files could not begin. Writes nothing.

    That is where the server is away, not migrated or without the rights, and where a file holds calls that are there.
    """
    with open_session(settings, options, lambda *_: None, lock=False) as session, ExitStack() as stack:
        sources: list[Source] = []
        resumed = {path for _, paths in session.ledger.unfinished_runs() for path in paths}
        for file in files:
            if os.path.realpath(file) in resumed:
                continue
            snapshot = stack.enter_context(borrowed_snapshot(file, options))
            if not _is_known(session, file, snapshot, Outcome()):
                sources.append(_admitted(session, snapshot, sources, Outcome()))
        if sources:
            _check_columns(options, sources)


def import_files(
    settings: Settings,
    files: Sequence[Path],
    options: Options,
    progress: Progress,
    *,
    confirm: Callable[[Sequence[str]], None] = lambda notes: None,
) -> Outcome:
    """Import files as one import, each content once, and verify every value.

    An unfinished import of the same files is resumed first, from its snapshots. Rows are committed chunk by chunk, and
    rows that were in the target before are left alone; the files are only read. Content that was imported before
    changes nothing and is noted in the outcome. ``confirm`` is called where rows are about to be added to a database
    that holds calls, once nothing can be refused any more, with what has been noted until then; what it raises ends
    the import before it has begun.

    Raises ``SourceError`` for a file that can't be read or has changed since its import, ``TargetError`` for a
    database that is not ready or that another import holds, ``DatabaseUnavailable`` and ``Interrupted``. What was
    committed before an error stays, and the same call resumes there.
    """
    with open_session(settings, options, progress) as session:
        outcome = Outcome()
        # First: tables without their keys and indexes are no place to check the ids of another import.
        rest = _resume(session, files, outcome)
        if rest:
            _import_new(session, rest, outcome, confirm)
        return outcome


def plan_files(settings: Settings, files: Sequence[Path], options: Options, progress: Progress) -> Plan:
    """Return the plan by which files would be imported. Writes nothing and takes no lock.

    Partitions that an import would create first, for months that the database lacks, are not part of it.
    """
    with open_session(settings, options, progress, lock=False) as session, ExitStack() as stack:
        works: list[Work] = []
        for file in files:
            snapshot = stack.enter_context(borrowed_snapshot(file, options))
            source = Source(snapshot.path, str(file), options.limits)
            columns = {target: session.target.columns(target) for target in source.targets}
            works += unrecorded_works(source, columns, options.zone)
        targets = {work.target for work in works if isinstance(work, MappedWork)}
        found = session.target.definitions(sorted(targets))
        found += session.target.primary_keys(sorted(large_targets(session, works) & targets))
        definitions = [Definition(0, *definition) for definition in found]
        return _plan(session, works, definitions)


def _import_new(
    session: Session, files: Sequence[Path], outcome: Outcome, confirm: Callable[[Sequence[str]], None]
) -> None:
    options = session.options
    with _discarded_on_failure(session) as taken:
        sources, snapshots = _take_new(session, files, outcome, taken)
        if not snapshots:
            return
        _check_columns(session.options, sources)
        session.refuse_unfinished(target for source in sources for target in source.targets)
        for source, snapshot in zip(sources, snapshots, strict=True):
            if options.strict:
                profile_file(source, snapshot, options, session.progress, session.connection).refuse_unclean()
        _note_missing(session, sources, outcome)
        if not session.target.is_empty("audio_files"):
            # An answer may take its time, in which no transaction should stay open.
            session.connection.commit()
            confirm(outcome.notes)
        note_room(session, snapshots, outcome)
        run = _begin(session, sources, snapshots, outcome.runs)
        _check_snapshots(session, run)
    _finish(session, run, outcome)


def _check_columns(options: Options, sources: Sequence[Source]) -> None:
    names = [name for source in sources for name in time_names(source)]
    Choice(options.utc, options.local).check(names)


def _note_missing(session: Session, sources: Sequence[Source], outcome: Outcome) -> None:
    names = session.ledger.imported_mappings().union(*(source.mapping_names for source in sources))
    if missing := sorted(missing_databases(names)):
        outcome.notes.append(
            f"the other database of the installation, {', '.join(missing)}, is not imported yet: name both in one "
            "command, or import it next; until then rows that refer to it have no parent"
        )


@contextmanager
def _discarded_on_failure(session: Session) -> Iterator[list[Snapshot]]:
    """Yield a list for all snapshots; if the import does not begin, the new ones are deleted from the folder.

    The records tell whether it began: an error may come after they were committed.
    """
    folder = session.options.snapshots
    before = set(folder.absolute().glob("*.sqlite"))
    snapshots: list[Snapshot] = []
    with no_new_folders(folder):
        try:
            yield snapshots
        except BaseException:
            session.remove_unrecorded({snapshot.path for snapshot in snapshots} - before)
            raise


def _take_new(
    session: Session, files: Sequence[Path], outcome: Outcome, taken: list[Snapshot]
) -> tuple[list[Source], list[Snapshot]]:
    """Return sources and their snapshots, without files whose content was imported before; all go to ``taken``."""
    sources: list[Source] = []
    snapshots: list[Snapshot] = []
    for file, snapshot in zip(files, take_all(files, session.options, session.progress, taken), strict=True):
        if _is_known(session, file, snapshot, outcome):
            continue
        same = next((other for other in snapshots if other.sha256 == snapshot.sha256), None)
        if same:
            raise SourceError(f"{file} has the same content as {same.source}: name it once")
        sources.append(_admitted(session, snapshot, sources, outcome))
        snapshots.append(snapshot)
    return sources, snapshots


def _admitted(session: Session, snapshot: Snapshot, others: Sequence[Source], outcome: Outcome) -> Source:
    """Return a snapshot as a source; raises ``SourceError`` where its rows are there already, or are another program's.

    What was not checked or can't be read is noted in the outcome.
    """
    if not session.options.again:
        _refuse_changed(session, snapshot)
    source = Source(snapshot.path, str(snapshot.source), session.options.limits)
    if session.options.unmapped:
        source.refuse_empty()
    else:
        source.refuse_foreign()
    refuse_beyond(source)
    if not session.options.again:
        outcome.notes += _refuse_copy(session, source, others)
    outcome.notes.extend(source.unreadable)
    return source


def _is_known(session: Session, file: Path, snapshot: Snapshot, outcome: Outcome) -> bool:
    """Return whether this content was imported before, and note it in the outcome."""
    known = session.ledger.source_by_sha256(snapshot.sha256)
    if known is None:
        return False
    if known.status == "running":
        raise unfinished(known.run, [known.path], f"has the content of {file}")
    if wanted := _other_zones(session, known, snapshot.path):
        raise SourceError(
            f"{file} was imported with --timezone {known.timezone} (import {known.run}) and is not imported again with "
            f"{' '.join(map(shell_word, wanted))}: nothing was changed; "
            f"{quoted('callytics timezone', known.run, *wanted)} reads its times anew, if they are wrong"
        )
    outcome.notes.append(
        f"{file}: already imported (import {known.run}, {known.status}, same SHA-256 {known.sha256[:12]}): "
        "nothing changed"
    )
    if known.run not in outcome.runs:
        outcome.add_run(known.run, known.status, session.ledger)
    return True


def _other_zones(session: Session, record: SourceRecord, snapshot: Path) -> list[str]:
    """Return the options, a word each, by which an imported file's times would be read otherwise than they were."""
    options = session.options
    choice = Choice(options.utc, options.local)
    wanted = [] if record.timezone == str(options.zone) else ["--timezone", str(options.zone)]
    if choice.is_made:
        # Of an import from before columns were told apart there is no more on record than that all were local.
        known = dict.fromkeys(time_names(Source(snapshot, record.path, options.limits)), Reading.LOCAL.value)
        for row in session.ledger.tables(record.id):
            known |= {f"{row.source_table}.{column}": reading for column, reading in (row.readings or {}).items()}
        wanted += choice.against(known)
    return wanted


def _refuse_other_zones(session: Session, record: SourceRecord) -> None:
    """Refuse to go on with an import in other zones than it was begun in: its rows would not fit together."""
    snapshot = session.snapshot_of(record, "the import needs it to go on")
    if wanted := _other_zones(session, record, snapshot):
        raise SourceError(
            f"import {record.run} was begun with --timezone {record.timezone} and can't go on with "
            f"{' '.join(map(shell_word, wanted))}: finish it as it was begun, and then run "
            f"{quoted('callytics timezone', record.run, *wanted)}, or give it up with "
            f"{quoted('callytics undo', record.run)}"
        )


def _refuse_changed(session: Session, snapshot: Snapshot) -> None:
    """Refuse a file that has changed since its import: its old rows would be added a second time."""
    if earlier := session.ledger.run_of_path(snapshot.source):
        raise SourceError(
            f"{snapshot.source} has changed since import {earlier[0]}, and importing it now would add all its rows a "
            "second time: 'callytics sync' brings over what has changed; name --again if all rows are meant, as for "
            "the file of another installation"
        )


def _refuse_copy(session: Session, source: Source, others: Sequence[Source]) -> list[str]:
    """Refuse a file that holds the calls of an earlier import, or of a file named before it, under another name.

    Returns a line for each file that it could not be compared with.
    """
    uncompared: list[str] = []
    for other in others:
        if (found := overlap(source, other)).is_copy:
            raise SourceError(
                f"{source.label} and {other.label} hold the same calls ({found.equal:,} of {found.compared:,} rows "
                "compared are equal): name one of them, or --again if all rows are meant"
            )
    for record in session.ledger.imported_sources():
        # Somebody else's mishap with a snapshot must not stop this file.
        try:
            snapshot = session.snapshot_of(record, ONLY_IT_TELLS, content=False)
            found = overlap(source, Source(snapshot, record.path, session.options.limits))
        except SourceError:
            uncompared.append(
                f"the snapshot {record.snapshot_path} of import {record.run} is gone or was changed: whether "
                f"{source.label} holds the same calls was not checked"
            )
            continue
        if found.is_copy:
            if record.status == "running":
                raise unfinished(record.run, [record.path], f"has the calls of {source.label}")
            raise SourceError(
                f"{source.label} holds the calls of import {record.run} ({record.path}): {found.equal:,} of "
                f"{found.compared:,} rows compared are equal, and importing it would add them a second time; "
                f"{quoted('callytics sync --of', record.run, source.label)} brings over what has changed; name "
                "--again if all rows are meant"
            )
    return uncompared


def _resume(session: Session, files: Sequence[Path], outcome: Outcome) -> list[Path]:
    """Resume imports of these files that were cut off; returns the files that were not part of one."""
    # Path.resolve() would fail on circular links; a broken file gets its message when it is read.
    named = {os.path.realpath(file): file for file in files}
    for run, paths in session.ledger.unfinished_runs():
        own = set(paths) & set(named)
        if not own:
            continue
        if own < set(paths):
            raise unfinished(run, paths, f"has {', '.join(sorted(own))} among its files")
        session.refuse_unfinished(session.ledger.targets(run), besides=run)
        for record in session.ledger.sources(run):
            _refuse_other_zones(session, record)
        outcome.notes.append(
            f"resuming import {run}, which was cut off, from its snapshot: what was written to the files since then "
            "is not in it"
        )
        with session.ledger.step(run, "resume", ""):
            _check_snapshots(session, run)
        _finish(session, run, outcome)
        for path in paths:
            del named[path]
    return list(named.values())


def _begin(session: Session, sources: Sequence[Source], snapshots: Sequence[Snapshot], named: Sequence[int]) -> int:
    """Record, in one transaction, what a run is going to do: which table goes where, with which ids. Commits.

    ``named`` are the earlier runs whose files were named along with these: references may lead there.
    """
    ledger, target = session.ledger, session.target
    choice = Choice(session.options.utc, session.options.local)
    targets = {target for source in sources for target in source.targets}
    for table in targets:
        target.columns(table)
    # Before ids are chosen: the placeholder that every database has would make all topics move.
    if "topics" in targets:
        target.drop_untouched_topic()
    offsets = id_offsets(sources, target)
    # Sequences are not transactional: the application's next insert is past these ids even if this rolls back.
    reserve_ids(sources, offsets, target)
    run = ledger.add_run(__version__, str(session.options.zone))
    references = References(sources, offsets, ledger, named)
    for source, snapshot in zip(sources, snapshots, strict=True):
        number = ledger.add_source(run, snapshot)
        for record in table_records(source, choice):
            added = ledger.add_table(number, references.moved(source, record))
            if ids := planned_ids(source, added):
                ledger.update_table(added, ids)
    if erased := ledger.carry_erased(run):
        session.options.notice(f"Left out, as it was erased after an earlier import: {counted(erased, 'row')}")
    ledger.measure_before(run)
    session.connection.commit()
    return run


def _finish(session: Session, run: int, outcome: Outcome) -> None:
    """Take a run from wherever it stands to its verdict."""
    ledger, limits = session.ledger, session.options.limits
    works = [
        work
        for record in ledger.sources(run)
        for work in recorded_works(ledger, record, Path(record.snapshot_path), limits)
    ]
    prepare(session, run, works, outcome)
    plan = _plan(session, works, ledger.definitions_to_restore(run))
    # Workers alter these tables on connections of their own, and would wait for locks that this one still holds.
    session.connection.commit()
    actions = ImportActions(run)
    try:
        _run(session, plan, actions)
    except SnapshotUnreadable as error:
        raise SourceError(f"{error}; then {RESUME}, or give it up with {quoted('callytics undo', run)}") from error
    except DatabaseUnavailable as error:
        # A worker could not connect, while the server goes down or comes back.
        raise DatabaseUnavailable(f"{error}; {RESUME}") from error
    # Again, or rows of another file could have been loaded and found equal to themselves.
    _check_snapshots(session, run)
    _validate_again(session, run, works)
    # Only now: the rows are there, and the application may have added some of its own meanwhile.
    _set_sequences(session, works)
    outcome.differences += [difference for one in actions.found.values() for difference in one.examples]
    ledger.measure_after(run)
    session.conclude(outcome, run)


def _check_snapshots(session: Session, run: int) -> None:
    """Raise ``SourceError`` if a snapshot of a run is gone or is not what was taken."""
    for record in session.ledger.sources(run):
        session.snapshot_of(record, "the import needs it to go on")


def _plan(session: Session, works: Sequence[Work], definitions: Sequence[Definition]) -> Plan:
    leaves = {work.target: session.target.leaves(work.target) for work in works if isinstance(work, MappedWork)}
    return ImportPlan(works, definitions, leaves, session.options.limits).build()


def _run(session: Session, plan: Plan, actions: ImportActions) -> None:
    """Execute a plan, and report regularly how far the server is with the statements of the workers."""
    pool = WorkerPool(session.settings, session.options, session.progress, plan, actions.by_kind)

    def watch(workers: Sequence[Worker]) -> None:
        busy = {worker.pid: worker.doing for worker in workers if worker.doing}
        for pid, (phase, done, total) in session.target.busy(list(busy)).items() if busy else ():
            pool.tell(f"{busy[pid]}{PHASE}{phase}", done, total)
        # An open transaction here would hold back what VACUUM may remove for as long as the import lasts.
        session.connection.commit()

    pool.run(watch)


def _validate_again(session: Session, run: int, works: Sequence[Work]) -> None:
    """Validate the foreign keys that earlier imports left NOT VALID: their parents may have come with this one."""
    targets = {work.target for work in works if isinstance(work, MappedWork)}
    own = {(key.table_name, key.name) for key in session.ledger.not_validated(run)}
    left = Staging(session.connection).not_validated(targets)
    validate(session, run, [key for key in left if (key.table, key.name) not in own])


def _set_sequences(session: Session, works: Sequence[Work]) -> None:
    """Set the sequences past every imported id and every id that SQLite had given out. Commits."""
    for work in works:
        if isinstance(work, MappedWork) and work.gives_ids:
            session.target.set_sequence(work.target, work.highest_id)
    session.target.restore_topic()
    session.connection.commit()
