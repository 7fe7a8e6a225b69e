"""Files that others rely on: on the disk when it is said so, for nobody else to change, and nothing left behind."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def sync(path: Path) -> None:
    """Return when a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_anothers(found: os.stat_result) -> bool:
    """Whether a file or folder belongs to another user than this one or root."""
    return found.st_uid not in (os.geteuid(), 0)


def others_may_replace(folder: os.stat_result) -> bool:
    """Whether others could put another file in the place of one in this folder.

    In a sticky folder such as /tmp only the owner of a file can.
    """
    return bool(folder.st_mode & OTHERS_WRITE and not folder.st_mode & stat.S_ISVTX)


@contextmanager
def scratch_in_use(make: Callable[[], Path]) -> Iterator[Path]:
    """Yield the scratch file or folder that ``make`` makes, under a new name each time; it is gone afterwards.

    Its lock tells scratch in use from what a killed command left: the kernel takes the lock back with the process.
    """
    scratch, handle = _locked(make)
    try:
        yield scratch
    finally:
        _remove_scratch(scratch)
        os.close(handle)


def _locked(make: Callable[[], Path]) -> tuple[Path, int]:
    while True:
        scratch = make()
        # Another command that sweeps up takes it for abandoned until it is locked: then it is made anew.
        with suppress(FileNotFoundError):
            handle = os.open(scratch, os.O_RDONLY if scratch.is_dir() else os.O_RDWR)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if scratch.exists():
                return scratch, handle
            os.close(handle)


def remove_abandoned(scratch: Iterable[Path]) -> None:
    """Remove scratch that a killed command left: nobody holds its lock any more."""
    for path in scratch:
        with suppress(OSError):
            # Whatever somebody has put there: a pipe would wait for its writer, a link lead elsewhere.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_scratch(path)
            finally:
                os.close(handle)


def _remove_scratch(scratch: Path) -> None:
    """Remove a scratch file or folder, and what SQLite or a recovery put beside it."""
    for path in scratch.parent.glob(f"{glob.escape(scratch.name)}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
