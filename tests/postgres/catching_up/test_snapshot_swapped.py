"""Something else in the place of a snapshot: no command reads it, waits for it, or deletes it, and others go on."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from callytics.exceptions import Interrupted, SourceError
from tests.support.installation import Installation
from tests.support.odd_trials import in_time

pytestmark = pytest.mark.slow

OTHER = """
create table audio_properties (id integer primary key autoincrement, file_path text not null, file_name text not null);
insert into audio_properties values (1, '/other/1.wav', '1.wav');
"""


def _link(path: Path) -> None:
    """What the link leads to is right today."""
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _other_content(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sqlite, sqlite:
        sqlite.execute("update audio_files set file_name = 'another'")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "kept").touch()


def _no_database(path: Path) -> None:
    path.write_bytes(b"\x5a" * path.stat().st_size)


SWAPS: dict[str, Callable[[Path], object]] = {
    "nothing": Path.unlink,
    "another content": _other_content,
    "no database": _no_database,
    "an empty file": lambda path: os.truncate(path, 0),
    "a file that others may write to": lambda path: path.chmod(0o666),
    "a link": _link,
    "a pipe": _pipe,
    "a folder": _folder,
}


def put_back(path: Path, saved: Path) -> None:
    """Do what the error lines say."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    shutil.copy(saved, path)
    path.chmod(0o600)


@pytest.mark.parametrize("swap", SWAPS)
def test_something_else_in_the_place_of_a_snapshot(swap: str, office: Installation) -> None:
    """After an import: sync and undo name it and what to do, an import of another file goes on without it."""
    (snapshot,) = office.options.snapshots.iterdir()
    saved = Path(shutil.copy(snapshot, office.folder / "saved"))
    before = office.all("select id, file_name from audio_files order by id")
    office.write("update audio_files set channels = 9 where id = 1;")
    SWAPS[swap](snapshot)
    found = set(office.options.snapshots.rglob("*")) - {snapshot}
    words = rf"^the snapshot {snapshot} of import 1 (is gone: put it back|was changed: put back the one)"
    with in_time():
        for refused in (office.sync, lambda: office.sync(dry_run=True), office.undo):
            with pytest.raises(SourceError, match=words):
                refused()
        assert office.all("select id, file_name from audio_files order by id") == before
        other = office.write(OTHER, "other.sqlite")
        unchecked = f"of import 1 is gone or was changed: whether {other} holds the same calls was not checked"
        # Reading all of each earlier snapshot would take longer than most imports.
        assert (unchecked in office.said("import", other)) == (swap not in ("another content", "an empty file"))
        assert office.undo(2).exit_code == 0
    left = {path for path in office.options.snapshots.rglob("*") if not path.name.startswith("other-")}
    assert left - {snapshot} == found
    put_back(snapshot, saved)
    assert office.sync().changed == 1
    assert office.verify().status == "verified"
    assert office.undo().exit_code == 0
    assert office.one("select count(*) from audio_files") == 0


@pytest.mark.parametrize("swap", SWAPS)
def test_without_its_snapshot_an_import_can_be_given_up(swap: str, office: Installation) -> None:
    """By its records, with what was changed since and what a sync brought; what the application added stays."""
    office.write("insert into audio_files (id, file_path, file_name) values (700, '/x', 'x'), (701, '/y', x'00');")
    assert office.sync().changed > 0
    office.change("update audio_files set file_name = 'ours' where id = 1")
    office.change("insert into audio_files (id, file_name) values (9000, 'own')")
    snapshot = Path(office.one("select snapshot_path from imports.sources"))
    SWAPS[swap](snapshot)
    with in_time():
        with pytest.raises(SourceError, match=r"or give it up with 'callytics undo 1 --force'$"):
            office.undo()
        outcome = office.undo(force=True, dry_run=True)
        assert outcome.changed > 0
        assert office.one("select count(*) from audio_files") > 1
        given_up = office.undo(force=True)
    assert given_up.changed == outcome.changed
    assert any("which tell no changes since" in note for note in given_up.notes)
    assert office.all("select id from audio_files") == [(9000,)]
    assert office.one("select count(*) from imports.rejected") == 0
    if snapshot.is_dir():
        # In the way of the next one, which says so.
        shutil.rmtree(snapshot)
    assert office.import_().exit_code == 3
    assert office.problems() == []


@pytest.mark.parametrize("swap", sorted(set(SWAPS) - {"nothing"}))
def test_undoing_an_unfinished_import_leaves_what_is_no_snapshot(swap: str, office: Installation) -> None:
    """It may be anybody's."""
    assert office.undo().exit_code == 0

    def cut_off(what: str, done: int, total: int) -> None:
        if what.startswith("verify"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        office.import_(cut_off)
    (snapshot,) = office.options.snapshots.iterdir()
    SWAPS[swap](snapshot)
    found = sorted(office.options.snapshots.rglob("*"))
    with in_time():
        assert office.undo(2).exit_code == 0
    assert sorted(office.options.snapshots.rglob("*")) == found
    assert office.one("select count(*) from audio_files") == 0
