"""The session of one command: connection, import lock, records, snapshots in use, and the verdict."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import adbc_driver_manager
import psycopg2
from psycopg2.extensions import connection as Connection

from callytics.exceptions import Interrupted, SourceError, TargetError
from callytics.importer.options import Cancellation, Options, Progress
from callytics.importer.outcome import Outcome
from callytics.importer.records.entries import SourceRecord, TableSummary
from callytics.importer.records.ledger import Ledger
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot, is_snapshot, scratch_folder, take_snapshot
from callytics.importer.target.catalogue import Target
from callytics.postgres import errors
from callytics.postgres.text import quoted
from callytics.schema.readiness.importing import check_connections, check_ready, hold_import_lock, import_connection
from callytics.settings import Settings

ONLY_IT_TELLS = "since only it tells what was imported and what was changed afterwards"
RESUME = "run the same command again to go on from there"
INTERRUPTED = f"interrupted; what was committed stays: {RESUME}"


class Session:
    """A connection to a database that is ready for imports, its records and catalogue, and the command's options.

    Methods work in the connection's transaction, and say so if they end it.
    """

    def __init__(self, settings: Settings, connection: Connection, options: Options, progress: Progress) -> None:
        self.settings, self.connection, self.options, self.progress = settings, connection, options, progress
        self.ledger, self.target = Ledger(connection), Target(connection)

    def refuse_unfinished(self, targets: Iterable[str], besides: int | None = None) -> None:
        """Raise ``TargetError`` if a cut-off import has to do with these tables or their parents. Commits.

        Until it ends, ids of its rows are taken that are not there yet, and its tables lack indexes and keys. An import
        that has nothing to do with these tables is left as it is, and so is ``besides``.
        """
        wanted = sorted(set(targets))
        for run, paths in self.ledger.unfinished_runs():
            if run != besides and (table := self.ledger.held_table(run, wanted)):
                raise unfinished(run, paths, f"holds {table}")
        self.connection.commit()

    def refuse_archived(self, run: int) -> None:
        """Raise ``TargetError`` where rows of a run are only in files: here they look like deleted ones."""
        if months := self.ledger.archived_months(run):
            raise TargetError(
                f"rows of import {run} are archived ({', '.join(months)}): bring them back first with "
                f"{quoted('callytics partitions restore', months[0])}"
            )

    def snapshot_of(self, record: SourceRecord, why: str, *, content: bool = True) -> Path:
        """Return the path of a recorded snapshot; ``why`` ends the message if it is gone.

        Without ``content`` its SHA-256 is not looked at. Raises ``SourceError`` if the file is missing, its SHA-256 is
        not the recorded one, or others could change it.
        """
        path = Path(record.snapshot_path)
        if not os.path.lexists(path):
            raise SourceError(
                f"the snapshot {path} of import {record.run} is gone: put it back (SHA-256 {record.sha256}), {why}"
                f"{_way_out(record)}"
            )
        if not is_snapshot(path, record.sha256 if content else None):
            raise SourceError(
                f"the snapshot {path} of import {record.run} was changed: put back the one that was taken"
                f"{_way_out(record)}"
            )
        return path

    def remove_unrecorded(self, paths: Iterable[Path]) -> None:
        """Delete the given snapshots except those that an import needs. Rolls back.

        Only what is committed counts: an error may come before the commit of the records, or after it.
        """
        # If the records can't be read, keep everything: a snapshot is the only proof of what was imported.
        with suppress(psycopg2.Error):
            self.connection.rollback()
            for path in set(paths) - {Path(path) for path in self.ledger.own_snapshots()}:
                path.unlink(missing_ok=True)
            self.connection.rollback()

    def conclude(self, outcome: Outcome, run: int) -> None:
        """Record the verdict on a run and add its records to the outcome. Commits.

        This commit waits for the disk, and so for everything that workers committed before: PostgreSQL writes its log
        in order.
        """
        status = verdict_on(self.ledger.summary(run))
        self.ledger.finish_run(run, status)
        self.connection.commit()
        if run not in outcome.runs:
            outcome.add_run(run, status, self.ledger)
        self.connection.commit()


def verdict_on(tables: Sequence[TableSummary]) -> str:
    """Return the verdict that follows from what became of the tables of a run."""
    if any(table.different_rows for table in tables):
        return "different"
    return "rejects" if any(table.rejected for table in tables) else "verified"


def base_source(session: Session, record: SourceRecord, *, content: bool = True) -> Source:
    """Return the content of a file that PostgreSQL was given last, from the snapshot of that import or sync.

    Without ``content`` nobody has looked yet whether that is what it holds. Raises ``SourceError`` if the snapshot is
    gone or was changed.
    """
    return Source(session.snapshot_of(record, ONLY_IT_TELLS, content=content), record.path, session.options.limits)


def unfinished(run: int, paths: Iterable[str], why: str) -> TargetError:
    """Return the error for a command that has to wait until a cut-off import is resumed or given up."""
    return TargetError(
        f"import {run} is unfinished and {why}: first run {quoted('callytics import', *paths)}, or "
        f"give it up with {quoted('callytics undo', run)}"
    )


def _way_out(record: SourceRecord) -> str:
    """Return what else there is to do about an import that can't go on."""
    force = [] if record.status == "running" else ["--force"]
    return f", or give it up with {quoted('callytics undo', record.run, *force)}"


@contextmanager
def open_session(
    settings: Settings, options: Options, progress: Progress, *, lock: bool = True, writes: bool = True
) -> Iterator[Session]:
    """Yield a session on a database that is ready; with ``lock`` no other import, sync or undo runs there meanwhile.

    Without ``writes`` the server may be one that takes none.

    Cancelling the command cancels the session's statements. Raises ``TargetError`` if the database is not ready, the
    role has no rights or another import holds the lock; ``DatabaseUnavailable`` if the server can't be reached; and
    ``Interrupted`` after Ctrl-C. Errors of the drivers during the block become one of these, without quoting values.
    """
    with _translated(settings, options.cancellation), closing(import_connection(settings)) as connection:
        # Called from the thread that hears of Ctrl-C, while this one waits in libpq.
        def cancel() -> None:
            with suppress(psycopg2.Error):
                connection.cancel()

        with options.cancellation.reaches(cancel):
            session = Session(settings, connection, options, progress)
            check_ready(session.connection, writes=writes)
            check_connections(session.connection, options.jobs)
            # Before any question about runs or files: the answer must hold until the command ends.
            if lock:
                hold_import_lock(session.connection)
            yield session


@contextmanager
def borrowed_snapshot(file: Path, options: Options) -> Iterator[Snapshot]:
    """Yield a snapshot of a file in a scratch folder that is removed afterwards: for commands that only compare."""
    with no_new_folders(options.snapshots), scratch_folder(options.snapshots) as folder:
        yield take_snapshot(file, folder, options.notice)


@contextmanager
def no_new_folders(folder: Path) -> Iterator[None]:
    """Afterwards remove the folder and those of its parents that are new and empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in missing:
            # A folder that holds something stays; one that was never made is no error.
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _translated(settings: Settings, cancellation: Cancellation) -> Iterator[None]:
    try:
        with errors.translated(settings, owner=True, then=RESUME):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted(INTERRUPTED) from error
    except Exception as error:
        # First: what drivers raise for a cancelled statement differs, and says nothing that the user has to know.
        if cancellation.cancelled:
            raise Interrupted(INTERRUPTED) from error
        if not isinstance(error, psycopg2.Error | adbc_driver_manager.Error) or errors.sqlstate(error) is None:
            raise
        # Without PostgreSQL's message, which can quote a value of a call.
        reason = f"SQLSTATE {errors.sqlstate(error)}{errors.raised_by(error)}"
        raise TargetError(f"PostgreSQL refused the import ({reason}): {RESUME} once that is put right") from error
