"""A copy of a SQLite file as of one moment, taken without writing to it, whatever its journal."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from callytics.exceptions import SourceError

SIDECARS = ("-wal", "-journal", "-shm")
# As long as a VACUUM or a large transaction of the application may hold its lock.
LOCK_TIMEOUT_SECONDS = 30.0
# Who waits is told after this long why, and Ctrl-C is heard between two tries.
NOTICE_SECONDS = 2.0
TRY_SECONDS = 0.5
# Where SQLite's locks are: the page that holds this byte is never used (https://sqlite.org/fileformat2.html).
LOCK_BYTE = 0x40000000
# What SQLite's backup writes anew in the header: the file format's versions, the change counter, the schema's cookie,
# and the version for which the header is valid with that of the library.
REWRITTEN = ((18, 20), (24, 28), (40, 44), (92, 100))
# Those versions in a file with a rollback journal, and in one in WAL mode.
ROLLBACK, WAL = b"\1\1", b"\2\2"
HEADER_BYTES = 100
# At once, where the system copies and where we do.
SHARED_BYTES, BLOCK_BYTES = 1 << 28, 1 << 20

Notice = Callable[[str], None]


def ignore() -> None:
    """Do nothing."""


def sidecar(source: Path, suffix: str) -> Path:
    """Return the name of a file that SQLite keeps beside a database."""
    return source.with_name(source.name + suffix)


def has_sidecar(source: Path, suffix: str) -> bool:
    """Tell whether SQLite keeps such a file there."""
    # Path.exists() fails on a name that is too long, as a sidecar's can be: then there is none.
    return os.path.exists(sidecar(source, suffix))  # noqa: PTH110


def copy_database(
    source: Path, copy: Path, notice: Notice = lambda _line: None, settled: Callable[[], None] = ignore
) -> None:
    """Copy a database to the empty file `copy`, what is in its WAL or journal included.

    The same content gives the same bytes each time. ``settled`` is called as soon as it is certain which moment the
    copy shows, ``notice`` while another program has the file locked. Raises `SourceError` with one line that says what
    to do.
    """
    try:
        try:
            _copy_read(source, copy, lambda: notice(_waiting(source)), settled)
        except sqlite3.DatabaseError as error:
            if not _needs_recovery(source, error):
                raise
            _again(copy)
            _copy_recovered(source, copy)
            settled()
    except (OSError, sqlite3.DatabaseError) as error:
        raise snapshot_error(source, error) from error


def _copy_read(source: Path, copy: Path, tell_waiting: Callable[[], None], settled: Callable[[], None]) -> None:
    """Copy what can be read without writing beside the file."""
    if (_idle_wal_mode(source) and _copy_idle(source, copy)) or (
        _abandoned_wal(source) and _copy_abandoned(source, copy)
    ):
        settled()
    else:
        _copy_locked(source, copy, tell_waiting, settled)


def _copy_locked(source: Path, copy: Path, tell_waiting: Callable[[], None], settled: Callable[[], None]) -> None:
    """Copy what a reader sees while SQLite keeps writers from changing it."""
    # The file first, so that it is closed last: that gives up every lock that this process has on it
    # (https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    with source.open("rb") as file, closing(_connect(f"{source.as_uri()}?mode=ro")) as reader:
        _begin(reader, tell_waiting)
        settled()
        # Another file may have come in its place between the two, and then only the reader has one locked.
        same = os.path.samestat(os.fstat(file.fileno()), source.stat())
        if same and _is_whole(file, ROLLBACK) and not has_sidecar(source, "-wal"):
            _copy_bytes(file, copy)
        else:
            _copy_pages(reader, copy)


def _copy_bytes(file: BinaryIO, copy: Path) -> None:
    """Copy a file that nobody writes to; what the system can share of it takes neither time nor room."""
    header = os.pread(file.fileno(), HEADER_BYTES, 0)
    with copy.open("r+b") as target:
        size, done = os.fstat(file.fileno()).st_size, 0
        while done < size:
            done += _copy_some(file.fileno(), target.fileno(), done, size - done)
        rewritten = _rewritten(header, copy)
        for first, last in REWRITTEN:
            os.pwrite(target.fileno(), rewritten[first:last], first)
        if size > LOCK_BYTE:
            page = page_size(header)
            os.pwrite(target.fileno(), bytes(page), LOCK_BYTE // page * page)


def _copy_some(source: int, target: int, offset: int, length: int) -> int:
    """Copy some bytes; returns how many."""
    # Not between any two file systems, nor on any system: what is really wrong is said below.
    with suppress(OSError, AttributeError):
        if copied := os.copy_file_range(source, target, min(length, SHARED_BYTES), offset, offset):
            return copied
    block = os.pread(source, min(length, BLOCK_BYTES), offset)
    if not block:
        raise OSError(errno.EIO, "it has become shorter")
    return os.pwrite(target, block, offset)


def _rewritten(header: bytes, copy: Path) -> bytes:
    """Return the header that SQLite's own backup would write, by that of a tiny database with the same one.

    It takes other values from one way of keeping a journal to the other, and from one release to the next.
    """
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=f"{copy.name}-") as folder:
        tiny, copied = Path(folder) / "tiny.sqlite", Path(folder) / "copied.sqlite"
        with closing(sqlite3.connect(tiny)) as connection:
            connection.execute("pragma synchronous = off")
            connection.execute(f"pragma page_size = {page_size(header)}")
            connection.execute("create table t (a)")
        with tiny.open("r+b") as file:
            for first, last in REWRITTEN:
                os.pwrite(file.fileno(), header[first:last], first)
        with closing(_connect(f"{tiny.resolve().as_uri()}?mode=ro&immutable=1")) as reader:
            _copy_pages(reader, copied)
        return copied.read_bytes()[:HEADER_BYTES]


def _is_whole(file: BinaryIO, versions: bytes) -> bool:
    """Tell whether a file of these versions of the file format is all of a database, of the size that it says."""
    header = os.pread(file.fileno(), HEADER_BYTES, 0)
    pages = int.from_bytes(header[28:32], "big")
    return (
        len(header) == HEADER_BYTES
        and header[18:20] == versions
        and header[24:28] == header[92:96]
        and 0 < pages * page_size(header) == os.fstat(file.fileno()).st_size
    )


def page_size(header: bytes) -> int:
    """Return the size of a database's pages by its header."""
    size = int.from_bytes(header[16:18], "big")
    # Two bytes can't hold 65,536, for which 1 stands.
    return 65536 if size == 1 else size


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=min(TRY_SECONDS, LOCK_TIMEOUT_SECONDS))


def _begin(reader: sqlite3.Connection, tell_waiting: Callable[[], None] = ignore) -> None:
    # A transaction: backup() would wait for a lock without end, and so finds that it holds one already.
    reader.execute("begin")
    _read_first(reader, tell_waiting)


def _copy_pages(reader: sqlite3.Connection, scratch: Path) -> None:
    """Copy all pages in one step, so that a writer cannot make the backup start over without end."""
    with closing(sqlite3.connect(scratch)) as copy:
        # Whoever keeps the copy writes it to the disk.
        copy.execute("pragma synchronous = off")
        reader.backup(copy)
        # The header brings WAL mode along, and whoever opens the copy would create files beside it.
        copy.execute("pragma journal_mode = delete")


def _read_first(reader: sqlite3.Connection, tell_waiting: Callable[[], None]) -> None:
    """Wait until the file can be read, and look what is in it.

    What is wrong with it is reported here, with the code by which `_needs_recovery` knows it.
    """
    began, told = time.monotonic(), False
    while True:
        try:
            reader.execute("select count(*) from sqlite_master").fetchone()
            return
        except sqlite3.OperationalError as error:
            seconds = time.monotonic() - began
            if not _is_locked(error) or seconds >= LOCK_TIMEOUT_SECONDS:
                raise
        if seconds >= NOTICE_SECONDS and not told:
            tell_waiting()
            told = True


def _waiting(source: Path) -> str:
    return f"{source} is locked by another program: waiting for up to {LOCK_TIMEOUT_SECONDS:.0f} s"


def _is_locked(error: Exception) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith("SQLITE_BUSY") or name == "SQLITE_LOCKED"


def _idle_wal_mode(source: Path) -> bool:
    """Tell whether the file is in WAL mode with no WAL beside it: then even a read-only open would create one."""
    with source.open("rb") as file:
        # The write and read versions of the file format, 2 for WAL (https://sqlite.org/fileformat2.html).
        return file.read(20)[18:] == WAL and not has_sidecar(source, "-wal")


def _copy_idle(source: Path, copy: Path) -> bool:
    """Copy as immutable; False when somebody began to write meanwhile, so that the copy means nothing."""
    before = source.stat()
    try:
        with source.open("rb") as file, closing(_connect(f"{source.as_uri()}?mode=ro&immutable=1")) as reader:
            _begin(reader)
            if _is_whole(file, WAL):
                _copy_bytes(file, copy)
            else:
                _copy_pages(reader, copy)
    except (OSError, sqlite3.DatabaseError):
        if _idle_wal_mode(source):
            raise
        return _again(copy)
    after = source.stat()
    same = _version(before) == _version(after)
    return (_idle_wal_mode(source) and same) or _again(copy)


def _again(copy: Path) -> bool:
    """Empty a copy that means nothing, for the next try."""
    os.truncate(copy, 0)
    return False


def _abandoned_wal(source: Path) -> bool:
    """Tell whether a crash left a WAL that nobody has open: then even a read-only open would put a -shm beside it."""
    return has_sidecar(source, "-wal") and not has_sidecar(source, "-shm")


def _copy_abandoned(source: Path, copy: Path) -> bool:
    """Copy with the WAL applied; False when somebody began to write meanwhile, so that the copy means nothing."""
    before = _last_written(source)
    _copy_recovered(source, copy)
    return (_abandoned_wal(source) and _last_written(source) == before) or _again(copy)


def _last_written(source: Path) -> list[tuple[int, int, int]]:
    return [_version(path.stat()) for path in (source, sidecar(source, "-wal")) if os.path.exists(path)]  # noqa: PTH110


def _version(found: os.stat_result) -> tuple[int, int, int]:
    """Return what is another one once a file was written to, or another one has its name."""
    return found.st_ino, found.st_mtime_ns, found.st_size


def _needs_recovery(source: Path, error: sqlite3.DatabaseError) -> bool:
    """Tell whether a crash left a journal or WAL that only a writer could apply."""
    return error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) and any(
        has_sidecar(source, suffix) for suffix in ("-wal", "-journal")
    )


def _copy_recovered(source: Path, copy: Path) -> None:
    """Copy the file with its journal and let SQLite recover the copy."""
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=f"{copy.name}-") as folder:
        crashed = Path(folder) / source.name
        shutil.copyfile(source, crashed)
        for suffix in ("-wal", "-journal"):
            if has_sidecar(source, suffix):
                shutil.copyfile(sidecar(source, suffix), sidecar(crashed, suffix))
        with closing(_connect(f"{crashed.as_uri()}?mode=rw")) as reader:
            _begin(reader)
            _copy_pages(reader, copy)


def snapshot_error(source: Path, error: Exception) -> SourceError:
    """Return the error for a file that can't be copied or checked, with what to do."""
    name = getattr(error, "sqlite_errorname", "")
    if _is_locked(error):
        return SourceError(f"{source} is locked by another program for {LOCK_TIMEOUT_SECONDS:.0f} s: try again later")
    if name == "SQLITE_NOTADB":
        return SourceError(f"{source} is not an SQLite database, or it is encrypted: export it unencrypted first")
    if name == "SQLITE_FULL" or getattr(error, "errno", None) == errno.ENOSPC:
        return SourceError(f"no room for a snapshot of {source}: name another folder with --snapshots")
    if name.startswith("SQLITE_CORRUPT"):
        return corrupt(source, error)
    return SourceError(f"{source} could not be copied ({error}): check the disk and the rights of its folder")


def corrupt(source: Path, finding: object) -> SourceError:
    """Return the error for a file whose copy SQLite finds damaged."""
    # SQLite asks no journal whose it is (https://sqlite.org/howtocorrupt.html#_mispairing_database_files_and_hot_journals_).
    for beside in (sidecar(source, "-wal"), sidecar(source, "-journal")):
        if os.path.exists(beside) and beside.stat().st_size:  # noqa: PTH110
            return SourceError(
                f"{source} is corrupt with what {beside.name} beside it changes ({finding}): move that away if it is "
                "another file's, or restore both from a backup"
            )
    return SourceError(f"{source} is corrupt ({finding}): restore it from a backup or try sqlite3's .recover")
