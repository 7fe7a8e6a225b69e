"""Which import files belong to, and the snapshots with which they are caught up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

from callytics import __version__
from callytics.exceptions import SourceError
from callytics.importer.catching_up.file import File
from callytics.importer.records.entries import SourceRecord
from callytics.importer.session import Session, base_source, borrowed_snapshot, unfinished
from callytics.importer.source.excerpt import excerpt
from callytics.importer.source.overlap import overlap
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import scratch_folder, take_snapshot
from callytics.postgres.sql import folded
from callytics.postgres.text import quoted


def targets_of(session: Session, files: Sequence[File]) -> set[str]:
    """Return the tables that files go to, as they were and as they are."""
    before = [table for file in files for table in session.ledger.targets(file.record.run)]
    return set(before).union(*(file.now.targets for file in files))


def records_of(session: Session, files: Sequence[Path]) -> dict[Path, SourceRecord]:
    """Return the record of each file; raises ``SourceError`` if one was never imported or is named twice. Commits."""
    ledger = session.ledger
    found: dict[Path, SourceRecord] = {}
    for file in files:
        path = Path(os.path.realpath(file))
        record = ledger.source_of_path(path)
        if record is None:
            known = ", ".join(ledger.imported_paths()) or "none"
            raise SourceError(
                f"{path} was never imported here (imported: {known}): run {quoted('callytics import', file)}, or "
                "name the import of which it is a later copy with --of"
            )
        if record in found.values():
            raise SourceError(f"{file} is named twice: name it once")
        if record.status == "running":
            raise unfinished(record.run, [record.path], f"has {path} among its files")
        found[path] = record
    session.connection.commit()
    return found


def copies_of(session: Session, files: Sequence[Path], run: int) -> dict[Path, SourceRecord]:
    """Return the record of the import's file that each file is a copy of; ``SourceError`` if it is of none. Commits."""
    own = [record for record in session.ledger.imported_sources() if record.run == run]
    if not own:
        raise SourceError(f"import {run} holds no files: 'callytics report' lists the imports")
    if own[0].status == "running":
        raise unfinished(run, [record.path for record in own], "has the files that these are copies of")
    bases = [(record, base_source(session, record)) for record in own]
    found: dict[Path, SourceRecord] = {}
    for file in files:
        path = Path(os.path.realpath(file))
        with borrowed_snapshot(file, session.options) as snapshot:
            copy = Source(snapshot.path, str(file), session.options.limits)
            record = next((record for record, base in bases if overlap(copy, base).is_copy), None)
        if record is None:
            listed = ", ".join(one.path for one in own)
            raise SourceError(f"{file} is no copy of a file of import {run} ({listed}): it holds other calls")
        if record in found.values():
            raise SourceError(f"two files are copies of {record.path}: name the later one")
        found[path] = record
    session.connection.commit()
    return found


@contextmanager
def taken_files(session: Session, records: dict[Path, SourceRecord], *, whole: bool) -> Iterator[list[File]]:
    """Yield the files with a new snapshot of each, and afterwards delete the snapshots that no record names.

    With ``whole`` they have all of their rows, otherwise those that differ. Whether the last snapshots still are what
    they were is known when ``File.check_base`` has returned.
    """
    taking = _Taking(session, records, whole=whole)
    folder = session.options.snapshots
    before = set(folder.absolute().glob("*.sqlite"))
    try:
        # Two for each file: to take it, and to check the last snapshot of it.
        with scratch_folder(folder) as scratch, ThreadPoolExecutor(2 * len(records)) as workers:
            try:
                yield taking.files(scratch, workers)
            except Exception:
                # Because somebody has changed one of the last snapshots? Then whatever was read of it is no cause.
                for check in taking.checks.values():
                    check.result()
                raise
    finally:
        outdated = {Path(record.snapshot_path) for record in records.values()}
        session.remove_unrecorded((set(taking.snapshots) - before) | outdated)


class _Taking:
    """Takes new snapshots of files side by side, and finds what differs: all of it leaves the interpreter to others."""

    def __init__(self, session: Session, records: dict[Path, SourceRecord], *, whole: bool) -> None:
        self.session, self.records, self.whole = session, records, whole
        self.versions = {record.id: session.ledger.version_of_source(record.id) for record in records.values()}
        self.rejected = {record.id: session.ledger.rejected_rows(record.id) for record in records.values()}
        session.connection.commit()
        self.snapshots: list[Path] = []
        # By the number of a file's record: whether its last snapshot is what it was.
        self.checks: dict[int, Future[Source]] = {}

    def files(self, scratch: Path, workers: ThreadPoolExecutor) -> list[File]:
        """Return the files, of which those come first whose rows refer to others.

        The application may write meanwhile, and a recording is older than the session that refers to it: so a file's
        moment comes after those of the files that refer to it, and it has every recording that the sessions need.
        """
        for record in self.records.values():
            self.checks[record.id] = workers.submit(base_source, self.session, record)
        was = {path: base_source(self.session, record, content=False) for path, record in self.records.items()}
        takes: list[Future[File]] = []
        for path in sorted(was, key=lambda path: not _references_other_file(was[path])):
            settled = Event()
            takes.append(workers.submit(self._take, path, was[path], scratch, settled))
            settled.wait()
        files = [take.result() for take in takes]
        return [replace(file, check_base=self.checks[file.record.id].result) for file in files]

    def _take(self, path: Path, was: Source, scratch: Path, settled: Event) -> File:
        record, options = self.records[path], self.session.options
        try:
            snapshot = take_snapshot(path, options.snapshots, options.notice, thorough=False, settled=settled.set)
        finally:
            settled.set()
        self.snapshots.append(snapshot.path)
        now = Source(snapshot.path, record.path, options.limits)
        now.refuse_empty()
        file = File(record, snapshot, was, now)
        # What another version has converted may come out differently now, whether the file has changed or not.
        if self.whole or self.versions[record.id] != __version__:
            return file
        place = scratch / str(record.id)
        place.mkdir()
        besides = {folded(table): rows for table, rows in self.rejected[record.id].items()}
        return replace(file, excerpt=excerpt(was, now, place, besides))


def _references_other_file(source: Source) -> bool:
    names = {folded(table.name) for table in source.tables}
    mapped = [one for own in source.table_mappings.values() for one in own]
    return any(folded(parent) not in names for one in mapped for parent in one.mapping.references.values())
