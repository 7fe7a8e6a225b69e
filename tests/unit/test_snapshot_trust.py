"""Snapshots under adverse conditions: cut off, side by side, without room, and files that change their place."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from callytics.exceptions import SourceError
from callytics.importer.source import copying
from callytics.importer.source.snapshot import is_snapshot, take_snapshot
from tests.support.places import REPOSITORY

TAKE = """
import sys
from pathlib import Path
from callytics.exceptions import SourceError
from callytics.importer.source.snapshot import take_snapshot
try:
    print(take_snapshot(Path(sys.argv[1]), Path(sys.argv[2]), lambda line: print(line, flush=True)).path, flush=True)
except SourceError as error:
    sys.exit(str(error))
"""
PAGE = 4096


def write(path: Path, word: str, rows: int = 40, journal: str = "delete") -> Path:
    """Write a file with rows that begin with a word, and that fill a page each."""
    with closing(sqlite3.connect(path, isolation_level=None)) as sqlite:
        sqlite.execute(f"pragma page_size = {PAGE}")
        sqlite.execute(f"pragma journal_mode = {journal}")
        sqlite.execute("create table t (a)")
        sqlite.executemany("insert into t values (? || hex(zeroblob(1800)))", [(f"{word} {n} ",) for n in range(rows)])
    return path


def left_open(path: Path, journal: str, beside: Path) -> None:
    """Change every row of a file and leave what SQLite has beside it meanwhile, as a crash would, beside another."""
    with closing(sqlite3.connect(path, isolation_level=None)) as sqlite:
        sqlite.executescript(f"pragma journal_mode = {journal}; pragma cache_size = 1; pragma wal_autocheckpoint = 0;")
        sqlite.executescript("begin; update t set a = 'changed ' || a;")
        if journal == "wal":
            sqlite.execute("commit")
        suffix = "-wal" if journal == "wal" else "-journal"
        shutil.copyfile(f"{path}{suffix}", f"{beside}{suffix}")


def words(path: Path) -> set[str]:
    """Return the words that rows begin with."""
    with closing(sqlite3.connect(path)) as sqlite:
        return {text.split()[0] for (text,) in sqlite.execute("select a from t")}


def start(file: Path, folder: Path, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Take a snapshot in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, str(file), str(folder)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def test_killed_while_it_is_taken_it_leaves_nothing_that_is_a_snapshot(tmp_path: Path) -> None:
    """A copy gets its name when it is whole; what is left without one goes with the next."""
    file, folder = write(tmp_path / "calls.sqlite", "sound"), tmp_path / "snapshots"
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        process = start(file, folder)
        assert process.stdout
        assert "is locked by another program: waiting" in process.stdout.readline()
        (scratch,) = folder.iterdir()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert list(folder.iterdir()) == [scratch]
        assert scratch.name.startswith(".snapshot-")
        assert scratch.stat().st_mode & 0o777 == 0o600
    taken = take_snapshot(file, folder)
    assert list(folder.iterdir()) == [taken.path]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_several_at_once_are_one(journal: str, tmp_path: Path) -> None:
    """None takes another's scratch for what a killed command left, and the last name given is of a whole copy."""
    file, folder = write(tmp_path / "calls.sqlite", "sound", journal=journal), tmp_path / "snapshots"
    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(lambda _: take_snapshot(file, folder), range(12)))
    assert len({snapshot.path for snapshot in taken}) == 1
    assert is_snapshot(taken[0].path, taken[0].sha256)
    assert list(folder.iterdir()) == [taken[0].path]
    processes = [start(file, folder) for _ in range(3)]
    assert {process.communicate() for process in processes} == {(f"{taken[0].path}\n", "")}
    assert is_snapshot(taken[0].path, taken[0].sha256)
    assert list(folder.iterdir()) == [taken[0].path]


@pytest.mark.parametrize("pages", [1, 20])
@pytest.mark.parametrize("journal", ["delete", "wal", "uncheckpointed", "hot"])
def test_without_room_for_all_of_it_nothing_is_left(journal: str, pages: int, tmp_path: Path) -> None:
    """Whatever way the copy is made: one line, and the folder as it was."""
    calls = tmp_path / "calls"
    calls.mkdir()
    file, folder = (
        write(calls / "calls.sqlite", "sound", journal="wal" if journal == "wal" else "delete"),
        tmp_path / "s",
    )
    if journal in ("uncheckpointed", "hot"):
        crashed = write(
            tmp_path / "crashed.sqlite", "sound", journal="wal" if journal == "uncheckpointed" else "delete"
        )
        left_open(crashed, "wal" if journal == "uncheckpointed" else "delete", file)
        shutil.copyfile(crashed, file)
    before = {path.name: path.read_bytes() for path in calls.iterdir()}

    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (pages * PAGE, pages * PAGE))

    said, error = start(file, folder, small_files_only).communicate()
    assert (said, error.count("\n")) == ("", 1)
    assert error.startswith(f"{file} could not be copied (")
    assert list(folder.iterdir()) == []
    assert {path.name: path.read_bytes() for path in calls.iterdir()} == before
    assert words(take_snapshot(file, folder).path)


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_file_that_another_one_replaces_meanwhile_is_one_of_the_two(
    journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that writes a file anew and renames it: the copy is of the file before or of the one after."""
    for moment in ("_begin", "_is_whole", "_copy_bytes"):
        folder = tmp_path / moment
        folder.mkdir()
        file = write(folder / "calls.sqlite", "before", journal=journal)
        after = write(folder / "after.sqlite", "after", rows=70, journal=journal)
        was = getattr(copying, moment)

        def replaced(
            *arguments: object, was: Callable[..., object] = was, after: Path = after, file: Path = file
        ) -> object:
            if after.exists():
                after.replace(file)
            return was(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(copying, moment, replaced)
            taken = take_snapshot(file, folder / "snapshots")
        assert not after.exists()
        assert words(taken.path) in ({"before"}, {"after"})
        assert words(take_snapshot(file, folder / "snapshots").path) == {"after"}


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize(("own", "others"), [(40, 40), (300, 5), (5, 300)])
def test_what_another_file_left_beside_it_is_named_where_it_does_harm(
    own: int, others: int, journal: str, tmp_path: Path
) -> None:
    """SQLite applies a journal or WAL by its name alone: the copy is what SQLite reads, or the line names it."""
    (tmp_path / "calls").mkdir()
    file = write(tmp_path / "calls" / "calls.sqlite", "own", own)
    left_open(write(tmp_path / "other.sqlite", "other", others), journal, file)
    (beside,) = [path for path in file.parent.iterdir() if path != file]
    opened = Path(shutil.copytree(file.parent, tmp_path / "opened")) / file.name
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    try:
        with closing(sqlite3.connect(opened)) as sqlite:
            sound = sqlite.execute("pragma integrity_check").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:
        sound = False
    if sound:
        assert words(take_snapshot(file, tmp_path / "snapshots").path) == words(opened)
    else:
        with pytest.raises(
            SourceError, match=rf"is corrupt with what {beside.name} beside it changes \(.*\): move that"
        ):
            take_snapshot(file, tmp_path / "snapshots")
        assert list((tmp_path / "snapshots").iterdir()) == []
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before
    beside.rename(tmp_path / "aside")
    assert words(take_snapshot(file, tmp_path / "snapshots").path) == {"own"}
