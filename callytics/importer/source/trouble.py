"""What goes wrong while a snapshot is read, as one line that names it and says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_manager

from callytics.exceptions import SnapshotUnreadable

# What there is to do, by SQLite's words (sqlite3ErrStr in main.c): of its codes ADBC passes none on.
GONE = "put back what was taken, and see to its disk"
REMEDIES = {
    "out of memory": "free memory, or name fewer --jobs",
    "database or disk is full": "free room for SQLite's temporary files, or set SQLITE_TMPDIR",
    "disk image is malformed": GONE,
    "file is not a database": GONE,
    "disk I/O error": GONE,
    "unable to open database file": GONE,
    "no such table": GONE,
    "no such column": GONE,
}
UNKNOWN = "export its tables with the application that wrote it"


@contextmanager
def reading(*paths: Path) -> Iterator[None]:
    """Raise `SnapshotUnreadable` for what SQLite says inside; the block reads nothing else by it than these files."""
    try:
        yield
    except (sqlite3.Error, MemoryError) as error:
        raise unreadable(paths, error) from error


@contextmanager
def reading_arrow(path: Path) -> Iterator[None]:
    """Do the same for what comes by ADBC, whose errors look like those of its driver for PostgreSQL."""
    with reading(path):
        try:
            yield
        except adbc_driver_manager.Error as error:
            raise unreadable([path], error) from error


def unreadable(paths: tuple[Path, ...] | list[Path], error: BaseException) -> SnapshotUnreadable:
    """Return the error for a snapshot; without the statement, which ADBC may quote, and that is of no use to a user."""
    said = "out of memory" if isinstance(error, MemoryError) else str(error)
    words = next((words for words in REMEDIES if words in said), None)
    reason = words or said.splitlines()[0].rpartition("]")[2].strip()
    return SnapshotUnreadable(
        f"the snapshot {' or '.join(map(str, paths))} can't be read ({reason}): {REMEDIES.get(reason, UNKNOWN)}"
    )
