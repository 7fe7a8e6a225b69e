"""An import that does not come to its end: it can be taken back, and it stops nobody whose tables it does not need."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from callytics.exceptions import SnapshotUnreadable, SourceError, TargetError
from callytics.importer import undo_import
from callytics.importer.source.trouble import reading
from callytics.settings import Settings
from tests.support.catalogue import catalogue
from tests.support.faults import SMALL, differences, write_calls
from tests.support.installation import Installation, contents

pytestmark = pytest.mark.slow

AGENTS = """
create table agent_accounts (id integer primary key autoincrement, username text unique, password_hash text);
insert into agent_accounts values (1, 'kim', 'x'), (7, 'lee', 'y');
"""
NOTES = "create table notes (id integer primary key, note text); insert into notes values (1, '메모')"
CALLS = """
create table Utterance (ID integer primary key, FileID integer, Speaker text, Sequence integer, Content text);
insert into Utterance values (4, 1, 'Customer', 1, '환불');
"""


class CutOff(Exception):
    """What the import is ended by."""


def at(step: str, share: float = 0.5) -> Callable[[str, int, int], None]:
    """Return a progress that ends the import when a step, by the beginning of its name, is done so far."""

    def progress(what: str, done: int, total: int) -> None:
        if what.startswith(step) and done >= total * share:
            raise CutOff

    return progress


STEPS = ["load Utterance", "load Notes", "index", "foreign key", "verify"]


@pytest.fixture
def office(database: Settings, tmp_path: Path) -> Iterator[Installation]:
    """A file whose rows go every way, in a database that nothing was imported into."""
    with Installation.on(database, tmp_path, "calls.sqlite", limits=SMALL, unmapped=True) as office:
        write_calls(office.file, 120)
        yield office


def cut_off(office: Installation, step: str) -> None:
    with pytest.raises(CutOff):
        office.import_(at(step))
    assert office.one("select status from imports.runs order by id desc limit 1") == "running"


def state(connection: psycopg2.extensions.connection) -> dict[str, Any]:
    """Return catalogue and rows, without what an import may leave: partitions, and how indexes of these are called."""
    found = {
        name: [one for one in entries if not re.search(r"_\d{4}_\d\d|_default_\w+", one)]
        for name, entries in catalogue(connection).items()
    }
    return found | contents(connection, records=False)


@pytest.fixture
def untouched(office: Installation) -> dict[str, Any]:
    return state(office.connection)


@pytest.mark.parametrize("step", STEPS)
def test_an_unfinished_import_is_taken_back_as_a_whole(
    step: str, office: Installation, untouched: dict[str, Any]
) -> None:
    """Rows, records, indexes, keys and snapshot, and the file comes in again."""
    cut_off(office, step)
    outcome = office.undo(1)
    assert (outcome.exit_code, outcome.notes) == (0, [])
    assert differences(untouched, state(office.connection)) == []
    assert office.all("select status from imports.runs") == [("undone",)]
    for table in ("chunks", "rejected", "unmapped", "normalisations", "definitions"):
        assert office.one(f"select count(*) from imports.{table}") == 0
    assert list(office.options.snapshots.iterdir()) == []
    with pytest.raises(TargetError, match="was undone already"):
        office.undo(1)
    assert office.import_().exit_code == 3
    assert office.problems() == []


@pytest.mark.parametrize("step", STEPS)
def test_without_its_snapshot_too(step: str, office: Installation, untouched: dict[str, Any]) -> None:
    """The records know the rows. The import itself can't go on, and says what to do."""
    cut_off(office, step)
    (snapshot,) = office.options.snapshots.iterdir()
    snapshot.unlink()
    with pytest.raises(SourceError, match="or give it up with 'callytics undo 1'"):
        office.import_()
    outcome = office.undo(1)
    assert outcome.exit_code == 0
    assert "which tell no changes since" in outcome.notes[0]
    assert differences(untouched, state(office.connection)) == []
    assert office.import_().exit_code == 3
    assert office.problems() == []


def test_ids_that_are_no_row_numbers_are_on_record(office: Installation, untouched: dict[str, Any]) -> None:
    """Of a table without INTEGER PRIMARY KEY, chunks do not tell which ids its rows have."""
    office.file.unlink()
    office.write(
        "create table Topic (ID int primary key, Name text) without rowid; insert into Topic values (900, 'a')"
    )
    office.write("insert into Topic values (17, 'b'), (33, x'00')")
    cut_off(office, "verify")
    for snapshot in office.options.snapshots.iterdir():
        snapshot.unlink()
    office.change("insert into topics (name) values ('of the application')")
    assert office.undo(1).exit_code == 0
    assert office.all("select name from topics order by id") == [("Unknown",), ("of the application",)]


def test_one_of_a_version_whose_mapping_is_gone(office: Installation, untouched: dict[str, Any]) -> None:
    cut_off(office, "verify")
    office.all("update imports.tables set mapping = 'generation_0/' || target_table where mapping is not null")
    with pytest.raises(TargetError, match=r"lacks.*callytics undo 1"):
        office.import_()
    assert office.undo(1).exit_code == 0
    assert differences(untouched, state(office.connection)) == []


def test_the_snapshot_of_a_file_that_is_gone_stays(office: Installation) -> None:
    """It may be the last copy."""
    cut_off(office, "load Utterance")
    office.file.unlink()
    (note,) = office.undo(1).notes
    (snapshot,) = office.options.snapshots.iterdir()
    assert str(snapshot) in note


def test_rows_that_the_application_changed_or_added_are_listed_first(office: Installation) -> None:
    cut_off(office, "verify")
    office.change("update audio_files set file_name = 'mine' where id = 3")
    office.change(
        "insert into transcriptions (audio_file_id, text_content, start_time, end_time) values (4, 'mine', 0, 1)"
    )
    outcome = office.undo(1)
    assert (outcome.exit_code, outcome.refused, outcome.clashed) == (4, True, 2)
    assert office.one("select count(*) from audio_files") > 100
    assert office.undo(1, force=True).exit_code == 0
    assert office.one("select count(*) from audio_files") + office.one("select count(*) from transcriptions") == 0


def test_a_dry_run_deletes_nothing(office: Installation) -> None:
    cut_off(office, "load Utterance")
    before = state(office.connection)
    outcome = office.undo(1, dry_run=True)
    assert outcome.changed > 0
    assert differences(before, state(office.connection)) == []
    assert office.import_().exit_code == 3


@pytest.mark.parametrize("step", ["compare", "undo", "index"])
def test_undoing_can_be_cut_off_too(step: str, office: Installation, untouched: dict[str, Any]) -> None:
    """And then be repeated, or the import be gone on with."""
    for end in (lambda: office.undo(1), office.import_):
        cut_off(office, "load Utterance")
        run = office.one("select max(id) from imports.runs")
        with pytest.raises(CutOff):
            undo_import(office.settings, run, office.options, at(step, 0.0))
        if end is not office.import_:
            assert office.undo(run).exit_code == 0
            assert differences(untouched, state(office.connection)) == []
    assert office.import_().exit_code == 3
    assert office.problems() == []


@pytest.mark.parametrize("script", [AGENTS, NOTES])
def test_other_files_come_in_beside_it(script: str, office: Installation) -> None:
    """They are imported, caught up with and undone; then the first import goes on as if nothing had been."""
    cut_off(office, "load Utterance")
    other = replace(office, files=[office.write(script, "other.sqlite")])
    assert (other.import_().runs, other.verify().exit_code) == ([2], 0)
    other.write("create table more (a); insert into more values (1)", "other.sqlite")
    assert other.sync().exit_code == 0
    assert office.import_().runs == [1]
    assert office.problems() == []
    cut_off_again = office.undo(2)
    assert cut_off_again.exit_code == 0
    assert office.verify().exit_code == 3


def test_files_that_need_its_tables_wait_and_hear_how_to_go_on(office: Installation) -> None:
    cut_off(office, "load Utterance")
    other = replace(office, files=[office.write(CALLS, "other.sqlite")])
    with pytest.raises(
        TargetError,
        match=r"import 1 is unfinished and holds \w+: first run .*calls.sqlite', or give it up with .*undo 1'",
    ):
        other.import_()
    assert len(list(office.options.snapshots.iterdir())) == 1
    assert office.undo(1).exit_code == 0
    assert other.import_().exit_code == 0


def test_a_copy_of_its_file_is_known(office: Installation) -> None:
    cut_off(office, "load Utterance")
    copy = office.folder / "copy.sqlite"
    copy.write_bytes(office.file.read_bytes())
    with pytest.raises(TargetError, match=r"has the content of .*copy.sqlite.*undo 1"):
        replace(office, files=[copy]).import_()
    for command in (office.sync, office.verify):
        with pytest.raises(TargetError, match=r"import 1 .*is unfinished"):
            command()


def test_one_of_two_files_is_not_enough_to_go_on(office: Installation) -> None:
    both = replace(office, files=[office.file, office.write(AGENTS, "other.sqlite")])
    cut_off(both, "load Utterance")
    with pytest.raises(
        TargetError,
        match=r"has .*other.sqlite among its files: first run 'callytics import .*calls.sqlite .*other.sqlite'",
    ):
        replace(both, files=both.files[1:]).import_()
    assert both.undo(1).exit_code == 0


def test_a_snapshot_that_was_changed_during_the_import_is_never_verified(office: Installation) -> None:
    """What is loaded from it is not what was taken: the import ends with a line, and can be taken back."""

    def swap(what: str, done: int, total: int) -> None:
        if what.startswith("verify") and done >= total:
            (snapshot,) = office.options.snapshots.iterdir()
            # Appended: others are reading it.
            with snapshot.open("ab") as file:
                file.write(b"\0" * 4096)

    with pytest.raises(SourceError, match="was changed: put back the one that was taken, or give it up"):
        office.import_(swap)
    assert office.one("select status from imports.runs") == "running"
    assert office.undo(1).exit_code == 0
    assert office.import_().exit_code == 3


def _cut(snapshot: Path) -> None:
    os.truncate(snapshot, snapshot.stat().st_size // 2 // 4096 * 4096)


def _overwrite(snapshot: Path) -> None:
    size = snapshot.stat().st_size
    with snapshot.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


@pytest.mark.parametrize("damage", [_cut, _overwrite, Path.unlink], ids=["cut", "overwritten", "removed"])
def test_a_snapshot_that_is_damaged_while_it_is_read(damage: Callable[[Path], None], office: Installation) -> None:
    """It is no trouble of PostgreSQL's, and both ways on are named: putting it back, and giving up."""
    saved = office.folder / "saved"

    def strike(what: str, done: int, total: int) -> None:
        if what.startswith("load ") and not saved.exists():
            (snapshot,) = office.options.snapshots.iterdir()
            shutil.copy(snapshot, saved)
            damage(snapshot)

    office.options = replace(office.options, jobs=1)
    with pytest.raises(SourceError) as refused:
        office.import_(strike)
    (path,) = office.all("select snapshot_path from imports.sources")[0]
    assert str(refused.value).startswith(f"the snapshot {path} ")
    assert "callytics undo 1" in str(refused.value)
    assert "put" in str(refused.value)
    with pytest.raises(SourceError, match=r"put .*, or give it up with 'callytics undo 1'"):
        office.import_()
    shutil.copy(saved, path)
    Path(path).chmod(0o600)
    assert office.import_().exit_code == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            sqlite3.DatabaseError("database disk image is malformed"),
            "disk image is malformed): put back what was taken",
        ),
        (sqlite3.OperationalError("disk I/O error"), "disk I/O error): put back what was taken, and see to its disk"),
        (sqlite3.OperationalError("database or disk is full"), "is full): free room for SQLite's temporary files"),
        (MemoryError(), "out of memory): free memory, or name fewer --jobs"),
        (sqlite3.OperationalError("no such module: fts9"), "no such module: fts9): export its tables"),
    ],
)
def test_each_trouble_of_a_snapshot_has_its_remedy(error: Exception, said: str) -> None:
    with pytest.raises(SnapshotUnreadable) as refused, reading(Path("/s/a.sqlite")):
        raise error
    assert str(refused.value).startswith("the snapshot /s/a.sqlite can't be read (")
    assert said in str(refused.value)
