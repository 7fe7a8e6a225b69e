"""A session: what one command of the importer works with from its first question to its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import adbc_driver_manager
import psycopg2
from psycopg2.extensions import connection as Connection

from callytics.exceptions import Interrupted, SourceError, TargetError
from callytics.importer.options import Cancellation, Options, Progress
from callytics.importer.outcome import Outcome
from callytics.importer.records.entries import SourceRecord
from callytics.importer.records.ledger import Ledger
from callytics.importer.source.snapshot import Snapshot, file_sha256, scratch_folder, take_snapshot
from callytics.importer.target.catalogue import Target
from callytics.importer.target.connections import import_connection
from callytics.postgres import errors
from callytics.settings import Settings

GO_ON = "run the same command again to go on from there"
INTERRUPTED = f"interrupted; what was committed stays: {GO_ON}"


class Session:
    """A connection to a database that is ready for imports, its records, and how the command is to work."""

    def __init__(self, settings: Settings, connection: Connection, options: Options, progress: Progress) -> None:
        self.settings, self.connection, self.options, self.progress = settings, connection, options, progress
        self.ledger, self.target = Ledger(connection), Target(connection)

    def refuse_unfinished(self) -> None:
        """Raise `TargetError` where an import was cut off and would be in the way."""
        for run, paths in self.ledger.unfinished_runs():
            raise unfinished(run, paths)
        self.connection.commit()

    def snapshot_of(self, record: SourceRecord, why: str) -> Path:
        """Return the snapshot that a record names; `SourceError` where it is gone, or is not the one that was taken."""
        path = Path(record.snapshot_path)
        if not path.exists():
            raise SourceError(
                f"the snapshot {path} of import {record.run} is gone: put it back (SHA-256 {record.sha256}), {why}"
            )
        if file_sha256(path) != record.sha256:
            raise SourceError(
                f"the snapshot {path} of import {record.run} was changed: put back the one that was taken"
            )
        return path

    def remove_unrecorded(self, paths: Iterable[Path]) -> None:
        """Remove those of the snapshots that no import needs; what is recorded decides, whatever was rolled back."""
        # Where the records can't be read, too much is kept rather than too little.
        with suppress(psycopg2.Error):
            self.connection.rollback()
            for path in set(paths) - {Path(path) for path in self.ledger.own_snapshots()}:
                path.unlink(missing_ok=True)
            self.connection.rollback()

    def conclude(self, outcome: Outcome, run: int) -> None:
        """Write the verdict on a run down, and take its records into the outcome."""
        tables = self.ledger.summary(run)
        different = any(table.different_rows for table in tables)
        status = "different" if different else "rejects" if any(table.rejected for table in tables) else "verified"
        self.ledger.finish_run(run, status)
        self.connection.commit()
        if run not in outcome.runs:
            outcome.add_run(run, status, self.ledger)
        self.connection.commit()


def unfinished(run: int, paths: Iterable[str]) -> TargetError:
    """Return what to say where an import that was cut off has to be finished first."""
    return TargetError(f"import {run} is unfinished: first run 'callytics import {' '.join(paths)}'")


@contextmanager
def open_session(settings: Settings, options: Options, progress: Progress, *, lock: bool = True) -> Iterator[Session]:
    """Yield a session with a database that is ready; with `lock` no other import, sync or undo works there meanwhile.

    Cancelling the command cancels the session's statements. Everything that PostgreSQL says during the block, and
    Ctrl-C, becomes one of ours: one line, without anybody's data.
    """
    with _translated(settings, options.cancellation), closing(import_connection(settings)) as connection:

        def cancel() -> None:
            with suppress(psycopg2.Error):
                connection.cancel()

        with options.cancellation.reaches(cancel):
            session = Session(settings, connection, options, progress)
            session.target.check_ready()
            if lock:
                session.target.lock()
            yield session


@contextmanager
def borrowed_snapshot(file: Path, options: Options) -> Iterator[Snapshot]:
    """Yield a snapshot in a folder of its own, which is removed afterwards: no import works with this copy."""
    with no_new_folders(options.snapshots), scratch_folder(options.snapshots) as folder:
        yield take_snapshot(file, folder)


@contextmanager
def no_new_folders(folder: Path) -> Iterator[None]:
    """Remove the folder and its parents afterwards, as far as they are new and hold nothing."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in missing:
            # One that holds something, or was never made, stays as it is.
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _translated(settings: Settings, cancellation: Cancellation) -> Iterator[None]:
    try:
        with errors.translated(settings, owner=True, then=GO_ON):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted(INTERRUPTED) from error
    except Exception as error:
        if cancellation.cancelled:
            raise Interrupted(INTERRUPTED) from error
        if not isinstance(error, psycopg2.Error | adbc_driver_manager.Error) or errors.sqlstate(error) is None:
            raise
        # Not its message, which can quote a value: somebody's words.
        raise TargetError(
            f"PostgreSQL refused the import (SQLSTATE {errors.sqlstate(error)}): {GO_ON} once that is put right"
        ) from error
