"""A consistent copy of a SQLite file, taken without writing to it: what the import reads, and a backup to keep."""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never

from callytics import disk
from callytics.exceptions import SourceError
from callytics.importer.source.copying import (
    SIDECARS,
    Notice,
    copy_database,
    corrupt,
    has_sidecar,
    ignore,
    page_size,
    sidecar,
    snapshot_error,
)
from callytics.importer.source.integrity import damage
from callytics.postgres.text import sized

MAGIC = b"SQLite format 3\0"
# What other files begin with that are taken for databases, by what to do with them
# (https://en.wikipedia.org/wiki/List_of_file_signatures, https://sqlite.org/walformat.html#the_wal_file_format).
OTHERS = {
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ\0": "compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "an archive of 7-Zip: unpack it first",
    b"PK\3\4": "a zip archive or an office document: unpack it, or export the database that its rows are from",
    b"\xd0\xcf\x11\xe0": "an office document: export the database that its rows are from",
    b"** This file contains an SQLite 2": "a database of SQLite 2: dump it with sqlite 2 and load that with sqlite3",
    b"PGDMP": "a dump of PostgreSQL: restore it with pg_restore",
    b"\x37\x7f\x06\x82": "the WAL of a database: name the database beside it",
    b"\x37\x7f\x06\x83": "the WAL of a database: name the database beside it",
    b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7": "the journal of a database: name the database beside it",
}
# SQLite's MAX_PATHNAME less what it appends (https://sqlite.org/src/file/src/os_unix.c, pager.c).
LONGEST_PATH = 512 - len("-journal")


@dataclass(frozen=True)
class Snapshot:
    """A copy of `source` (resolved) at `path`; the same content always gives the same SHA-256.

    It took from `began` to `ended`, in `time.monotonic()`'s seconds.
    """

    source: Path
    path: Path
    sha256: str
    size_bytes: int
    began: float = field(default=0.0, compare=False)
    ended: float = field(default=0.0, compare=False)


def take_snapshot(
    source: Path,
    folder: Path,
    notice: Notice = lambda _line: None,
    *,
    thorough: bool = True,
    settled: Callable[[], None] = ignore,
) -> Snapshot:
    """Copy the database into `folder`, what is still in its WAL included, and check it.

    The source is opened read-only. The copy is named after its content and has mode 0600, so that taking it twice
    gives one file; nothing stays behind when it fails. A file that another program has locked is waited for, of which
    ``notice`` is told; ``settled`` is called as soon as it is certain which moment is copied. Without ``thorough`` the
    copy is neither checked nor certain to survive a power cut until
    ``prove_snapshot`` has looked at it. Raises `SourceError` with one line for everything that is not an intact SQLite
    database.
    """
    began = time.monotonic()
    source, folder = readable_database(source), folder.absolute()
    _refuse_long(folder / f"{_short(source.stem)}-{'0' * 12}.sqlite", "another folder with --snapshots")
    _make_folder(folder, source)
    with _scratch_file(folder) as scratch:
        copy_database(source, scratch, notice, settled)
        with _being_checked(source, scratch) if thorough else nullcontext():
            sha256 = file_sha256(scratch)
        target = folder / f"{_short(source.stem)}-{sha256[:12]}.sqlite"
        _keep(scratch, target)
    return Snapshot(source, target, sha256, target.stat().st_size, began, time.monotonic())


def prove_snapshot(snapshot: Snapshot) -> None:
    """Check a snapshot as ``take_snapshot`` does, write it to the disk, and see that it is still what was taken.

    Raises ``SourceError`` otherwise.
    """
    with _being_checked(snapshot.source, snapshot.path):
        refuse_changed(snapshot)


@contextmanager
def _being_checked(source: Path, copy: Path) -> Iterator[None]:
    """Check a copy and write it to the disk meanwhile; afterwards raise what is wrong with it."""
    # All of it releases the interpreter while it works, and so does hashing: threads are enough.
    with ThreadPoolExecutor(2) as side:
        checks = [side.submit(_check_integrity, source, copy), side.submit(disk.sync, copy)]
        yield
        for check in checks:
            check.result()


def _refuse_long(path: Path, instead: str) -> None:
    """Raise `SourceError` for a path that SQLite would only call unable to be opened."""
    if (length := len(bytes(path))) > LONGEST_PATH:
        raise SourceError(
            f"the path {path} has {length} bytes, and SQLite opens none of more than {LONGEST_PATH}: name {instead}"
        )


def _short(stem: str) -> str:
    """Return as much of a name as leaves room for a digest: file systems take 255 bytes."""
    return os.fsdecode(os.fsencode(stem)[:200]).encode(errors="ignore").decode()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_snapshot(path: Path, sha256: str | None) -> bool:
    """Return whether a path is a snapshot that was taken, as it was taken: a file that no one else can change.

    Without ``sha256`` its content is not looked at, which takes as long as reading all of it.

    A link, a pipe, or a file of another user is none, whatever it holds: it may hold something else a moment later.
    """
    try:
        # Opened once, so that what is looked at is what is read. A pipe without a writer would wait for one.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            trusted = {os.geteuid(), 0, path.parent.stat().st_uid}
            ours = stat.S_ISREG(found.st_mode) and found.st_uid in trusted and not found.st_mode & disk.OTHERS_WRITE
            return ours and (sha256 is None or hashlib.file_digest(file, "sha256").hexdigest() == sha256)
    except OSError:
        return False


def refuse_changed(snapshot: Snapshot) -> None:
    """Raise `SourceError` if a snapshot is no longer what was taken: what was read of it proves nothing then."""
    if not is_snapshot(snapshot.path, snapshot.sha256):
        raise SourceError(
            f"the snapshot {snapshot.path} of {snapshot.source} was changed while it was used: find out who writes to "
            "its folder, and run the same command again"
        )


def readable_database(source: Path) -> Path:
    """Refuse, in one line each, what SQLite would only call 'file is not a database'."""
    try:
        source = source.resolve(strict=True)
        if source.is_dir():
            raise SourceError(f"{source} is a folder: name the SQLite file in it")
        if not source.is_file():
            raise SourceError(f"{source} is no ordinary file: name an SQLite database")
        with source.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError as error:
        raise SourceError(f"{source} does not exist: check the path") from error
    except PermissionError as error:
        raise SourceError(f"{source} may not be read by this user: run as its owner or change its mode") from error
    except (OSError, RuntimeError) as error:
        # Among them a path through a file, a name that is too long, and links in a circle (RuntimeError before 3.13).
        reason = getattr(error, "strerror", None) or "its links lead in a circle"
        raise SourceError(f"{source} cannot be read ({reason}): check the path") from error
    _refuse_long(source, "the file after moving it to a shorter path")
    if not header:
        raise SourceError(f"{source} is empty (0 bytes): it is no database")
    if not header.startswith(MAGIC):
        _refuse_other(source, header)
    _refuse_truncated(source, header)
    return source


def _refuse_other(source: Path, header: bytes) -> Never:
    for magic, kind in OTHERS.items():
        if header.startswith(magic):
            raise SourceError(f"{source} is not an SQLite database, but {kind}")
    raise SourceError(f"{source} is not an SQLite database, or it is encrypted: export it unencrypted first")


def _refuse_truncated(source: Path, header: bytes) -> None:
    """Compare the size with the page count of the header (https://sqlite.org/fileformat2.html#in_header_database_size)."""
    # The page count is valid only if it was written along with the change counter; with a WAL, the file may lag behind.
    if len(header) == 100 and (header[24:28] != header[92:96] or any(has_sidecar(source, s) for s in SIDECARS)):
        return
    expected = page_size(header) * int.from_bytes(header[28:32], "big")
    actual = source.stat().st_size
    if len(header) < 100 or actual < expected:
        raise SourceError(f"{source} is truncated: {actual} of {expected} bytes; restore it from a backup")


def _make(folder: Path) -> int:
    """Make a folder where there is none; returns the bytes that are free in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise SourceError(f"the snapshot folder {folder} cannot be used: {error.strerror}") from error


def _make_folder(folder: Path, source: Path) -> None:
    _make(folder)
    _refuse_others_folder(folder)
    # Before the room is measured: it may be what fills the disk.
    disk.remove_abandoned([*folder.glob(".snapshot-*.sqlite"), *folder.glob(".borrowed-*")])
    free = _make(folder)
    needed = sum(path.stat().st_size for path in (source, sidecar(source, "-wal")) if os.path.exists(path))  # noqa: PTH110
    if free < needed:
        # The folder that was named, not the scratch folder in it.
        named = folder.parent if folder.name.startswith(".") else folder
        raise SourceError(
            f"no room for a snapshot of {source}: {sized(needed)} needed, {sized(free)} free in {named}; "
            "name another folder with --snapshots"
        )


def _refuse_others_folder(folder: Path) -> None:
    """Refuse a folder in which somebody else could put another file in a snapshot's place, once it is verified."""
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise SourceError(f"the snapshot folder {folder} is a link: name the folder that it leads to with --snapshots")
    if disk.is_anothers(found):
        raise SourceError(
            f"the snapshot folder {folder} belongs to another user ({_user(found.st_uid)}): run as that user, or name "
            "another folder with --snapshots"
        )
    if disk.others_may_replace(found):
        raise SourceError(
            f"others may write to the snapshot folder {folder} (mode {stat.S_IMODE(found.st_mode):04o}): run "
            f"'chmod 700 {folder}', or name another folder with --snapshots"
        )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@contextmanager
def _scratch_file(folder: Path) -> Iterator[Path]:
    """Yield a name in `folder` that is gone afterwards, with everything SQLite put beside it."""

    def make() -> Path:
        try:
            # In the target folder: the finished copy only has to be renamed.
            handle, name = tempfile.mkstemp(prefix=".snapshot-", suffix=".sqlite", dir=folder)
        except OSError as error:
            raise SourceError(f"the snapshot folder {folder} cannot be written: {error.strerror}") from error
        os.close(handle)
        return Path(name)

    with disk.scratch_in_use(make) as scratch:
        yield scratch


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield the name of a new folder in `folder`, which is gone afterwards with all that is in it."""

    def make() -> Path:
        scratch = folder / f".borrowed-{secrets.token_hex(8)}"
        _make(scratch)
        return scratch

    with disk.scratch_in_use(make) as scratch:
        yield scratch


def _check_integrity(source: Path, scratch: Path) -> None:
    try:
        # On the copy: a check of the source would hold its writers up for as long as it takes.
        finding = damage(scratch)
    except sqlite3.DatabaseError as error:
        raise snapshot_error(source, error) from error
    if finding:
        raise corrupt(source, finding)


def _keep(scratch: Path, target: Path) -> None:
    """Give the copy its name, in place of whatever has it: only this one is known to be whole, ours and no link."""
    try:
        scratch.rename(target)
    except OSError as error:
        raise SourceError(f"{target} is in the way of a snapshot ({error.strerror}): move it away") from error
    # The name is on the disk only when the folder is.
    disk.sync(target.parent)
