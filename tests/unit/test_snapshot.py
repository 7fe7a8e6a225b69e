"""Snapshots: the same content, nothing written to the source, nothing left behind."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from callytics.exceptions import SourceError
from callytics.importer.source.snapshot import (
    file_sha256,
    is_snapshot,
    refuse_changed,
    scratch_folder,
    take_snapshot,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database in rollback-journal mode with one table."""
    path = tmp_path / "calls" / "call centre.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("create table t (a); insert into t values ('안녕하세요');")
    return path


def contents(path: Path) -> list[str]:
    """Read the test table."""
    with closing(sqlite3.connect(path)) as connection:
        return [value for (value,) in connection.execute("select a from t")]


def test_snapshot_is_private_and_named_after_its_content(file: Path, tmp_path: Path) -> None:
    """The copy has mode 0600 and its SHA-256; taking it twice gives one file."""
    first, second = (take_snapshot(file, tmp_path / "snapshots") for _ in range(2))
    assert first == second
    assert first.sha256 == file_sha256(first.path)
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == [first.path.name]


def test_snapshot_holds_what_is_in_the_wal(file: Path, tmp_path: Path) -> None:
    """A committed row that is only in the WAL arrives, and neither file nor folder changes."""
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("pragma journal_mode = wal")
        writer.execute("insert into t values ('in the WAL')")
        writer.commit()
        before = {path.name: path.read_bytes() for path in file.parent.iterdir() if not path.name.endswith("-shm")}
        snapshot = take_snapshot(file, tmp_path / "snapshots")
        after = {path.name: path.read_bytes() for path in file.parent.iterdir() if not path.name.endswith("-shm")}
    assert contents(snapshot.path) == ["안녕하세요", "in the WAL"]
    assert before == after


def test_snapshot_of_an_idle_wal_database_creates_nothing_beside_it(file: Path, tmp_path: Path) -> None:
    """A database in WAL mode that is not open anywhere can be read without -wal and -shm."""
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("pragma journal_mode = wal")
    take_snapshot(file, tmp_path / "snapshots")
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_same_content_gives_the_same_sha256_whatever_the_journal(file: Path, tmp_path: Path) -> None:
    """Whether rows are in the WAL or in the file makes no other content."""
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("pragma journal_mode = wal")
        writer.execute("insert into t values (1)")
        writer.commit()
        in_wal = take_snapshot(file, tmp_path / "snapshots").sha256
    assert take_snapshot(file, tmp_path / "snapshots").sha256 == in_wal


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize(
    "pragma", ["user_version = 7", "page_size = 512", "page_size = 65536", "auto_vacuum = full", "encoding = 'UTF-16'"]
)
def test_the_copy_is_that_of_sqlite_itself(pragma: str, journal: str, tmp_path: Path) -> None:
    """Byte by byte, the header too: a copy that is taken in the other way is the same snapshot."""
    file, copy = tmp_path / "calls.sqlite", tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"pragma {pragma}")
        connection.execute(f"pragma journal_mode = {journal}")
        connection.executescript("create table t (a); create table u (a unique); create table v (a)")
        for number in range(50):
            connection.execute("insert into t values (?)", ("x" * 100 * number,))
            connection.commit()
        connection.executescript("delete from t where rowid % 3 = 0; drop table v")
    # Another release of SQLite has written it.
    with file.open("r+b") as other:
        other.seek(96)
        other.write((3_007_000).to_bytes(4, "big"))
    copy.touch()
    uri = f"{file.as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("pragma journal_mode = delete")
    taken = take_snapshot(file, tmp_path / "snapshots").path
    assert taken.read_bytes() == copy.read_bytes()
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == [taken.name]


def test_what_grows_while_it_is_copied_is_whole(file: Path, tmp_path: Path) -> None:
    """A writer that never stops is kept out of the copy, and finds nothing locked afterwards."""
    written = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(file, timeout=30)) as writer:
            for number in range(60):
                writer.execute("insert into t values (?)", (f"{number:04}" * 2000,))
                writer.commit()
                written.set()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        written.wait()
        taken = [contents(take_snapshot(file, tmp_path / "snapshots").path) for _ in range(5)]
        writing.result()
    rows = ["안녕하세요", *(f"{number:04}" * 2000 for number in range(60))]
    assert all(one == rows[: len(one)] for one in taken)
    assert contents(file) == rows


def test_another_file_can_be_taken_as_soon_as_the_moment_is_settled(file: Path, tmp_path: Path) -> None:
    """What is committed afterwards is not in the copy."""

    def settled() -> None:
        # The copy's lock keeps it waiting: it is never in what is copied.
        with closing(sqlite3.connect(file, timeout=0)) as writer:
            writer.execute("insert into t values ('too late')")
            with pytest.raises(sqlite3.OperationalError):
                writer.commit()

    assert contents(take_snapshot(file, tmp_path / "snapshots", settled=settled).path) == ["안녕하세요"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"not a database", "is not an SQLite database, or it is encrypted"),
        (bytes(range(256)) * 64, "is not an SQLite database, or it is encrypted"),
        (b"SQLite format 3\0", "is truncated"),
    ],
)
def test_what_is_no_database_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    """One line says what is wrong, and no file is left."""
    file = tmp_path / "calls.sqlite"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=reason) as raised:
        take_snapshot(file, tmp_path / "snapshots")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "snapshots").exists() or not list((tmp_path / "snapshots").iterdir())


def test_truncated_file_is_refused(file: Path, tmp_path: Path) -> None:
    """A file shorter than its header says is not read at all."""
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(SourceError, match="is truncated: 7192 of 8192 bytes"):
        take_snapshot(file, tmp_path / "snapshots")


def test_corrupt_page_is_refused(file: Path, tmp_path: Path) -> None:
    """Damage inside a page is found by SQLite's integrity check."""
    content = bytearray(file.read_bytes())
    content[4096:4200] = b"\xff" * 104
    file.write_bytes(content)
    with pytest.raises(SourceError, match="is corrupt"):
        take_snapshot(file, tmp_path / "snapshots")
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_folder_and_missing_file_are_refused(tmp_path: Path) -> None:
    """A folder is not searched for databases; a missing file is named."""
    with pytest.raises(SourceError, match="is a folder"):
        take_snapshot(tmp_path, tmp_path / "snapshots")
    with pytest.raises(SourceError, match="does not exist"):
        take_snapshot(tmp_path / "absent.sqlite", tmp_path / "snapshots")


def test_hot_journal_is_recovered_in_a_copy(file: Path, tmp_path: Path) -> None:
    """A journal that a crash left is applied to the copy, never to the source."""
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.executescript("pragma cache_size = 1; pragma cache_spill = 1; begin;")
        writer.executemany("insert into t values (?)", [("x" * 3000,) for _ in range(50)])
        crashed = tmp_path / "crashed" / file.name
        crashed.parent.mkdir()
        for path in file.parent.iterdir():
            (crashed.parent / path.name).write_bytes(path.read_bytes())
        writer.execute("rollback")
    assert len(list(crashed.parent.iterdir())) == 2
    before = {path.name: path.read_bytes() for path in crashed.parent.iterdir()}
    snapshot = take_snapshot(crashed, tmp_path / "snapshots")
    assert contents(snapshot.path) == ["안녕하세요"]
    assert {path.name: path.read_bytes() for path in crashed.parent.iterdir()} == before


def test_what_a_killed_command_left_is_removed(file: Path, tmp_path: Path) -> None:
    """Scratch without an owner is rubbish; that of a running command is not, and no snapshot is."""
    folder = tmp_path / "snapshots"
    kept = take_snapshot(file, folder).path
    for name in (".snapshot-dead.sqlite", ".snapshot-dead.sqlite-journal", ".snapshot-alive.sqlite"):
        (folder / name).touch()
    for name in (".snapshot-dead.sqlite-recovery", ".borrowed-dead"):
        (folder / name).mkdir()
        (folder / name / "calls.sqlite").touch()
    with scratch_folder(folder) as borrowed, (folder / ".snapshot-alive.sqlite").open("rb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        take_snapshot(file, folder)
        assert sorted(folder.iterdir()) == sorted([kept, borrowed, folder / ".snapshot-alive.sqlite"])
    take_snapshot(file, folder)
    assert list(folder.iterdir()) == [kept]


def test_a_folder_that_others_may_write_to_is_refused(file: Path, tmp_path: Path) -> None:
    """They could put another file in the place of one that is verified."""
    folder = tmp_path / "snapshots"
    folder.mkdir()
    for mode in (0o777, 0o770, 0o722):
        folder.chmod(mode)
        with pytest.raises(SourceError, match=rf"mode {mode:04o}\): run 'chmod 700 .*', or name another"):
            take_snapshot(file, folder)
    folder.chmod(0o755)
    assert take_snapshot(file, folder).path.parent == folder


def test_a_link_for_a_folder_and_a_folder_of_somebody_else_are_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, folder = tmp_path / "link", tmp_path / "snapshots"
    folder.mkdir(mode=0o700)
    link.symlink_to(folder)
    with pytest.raises(SourceError, match="is a link: name the folder that it leads to"):
        take_snapshot(file, link)
    if os.geteuid() == 0:
        os.chown(folder, 12345, 12345)
        with pytest.raises(SourceError, match=r"belongs to another user \(12345\)"):
            take_snapshot(file, folder)


@pytest.mark.parametrize("what", ["file", "link", "hard link", "pipe"])
def test_whatever_has_the_name_of_a_snapshot_is_replaced(what: str, file: Path, tmp_path: Path) -> None:
    """Its content may be right, and somebody else's to change."""
    folder = tmp_path / "snapshots"
    path = take_snapshot(file, folder).path
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    if what == "file":
        path.write_bytes(elsewhere.read_bytes())
        path.chmod(0o666)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        (path.symlink_to if what == "link" else path.hardlink_to)(elsewhere)
    snapshot = take_snapshot(file, folder)
    assert is_snapshot(snapshot.path, snapshot.sha256)
    found = path.lstat()
    assert (stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_nlink) == (stat.S_IFREG, 0o600, 1)


def test_a_pipe_among_the_scratch_does_not_hang(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir(mode=0o700)
    os.mkfifo(folder / ".snapshot-x.sqlite")
    assert take_snapshot(file, folder).path.exists()


def test_only_the_file_that_was_taken_is_a_snapshot(file: Path, tmp_path: Path) -> None:
    snapshot = take_snapshot(file, tmp_path / "snapshots")
    path, sha256 = snapshot.path, snapshot.sha256
    refuse_changed(snapshot)
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(path)
    os.mkfifo(pipe)
    assert [is_snapshot(one, sha256) for one in (path, link, pipe, tmp_path / "absent")] == [True, False, False, False]
    path.chmod(0o620)
    assert not is_snapshot(path, sha256)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SourceError, match="was changed while it was used"):
        refuse_changed(snapshot)


def test_a_folder_in_the_way_is_one_line(file: Path, tmp_path: Path) -> None:
    path = take_snapshot(file, tmp_path / "snapshots").path
    path.unlink()
    path.mkdir()
    with pytest.raises(SourceError, match="is in the way of a snapshot"):
        take_snapshot(file, tmp_path / "snapshots")
