"""Undo: an import goes as a whole, and nothing else does."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from callytics.exceptions import TargetError
from callytics.settings import Settings
from tests.support.installation import Imported, Installation, contents
from tests.support.samples import write_sample

pytestmark = pytest.mark.slow


def other(office: Installation, folder: Path) -> Installation:
    """Return another installation, with the same files as the one that is imported, not imported yet."""
    write_sample(folder / "other", generation=3, calls=4, seed=9)
    return replace(office, files=[folder / "other" / file.name for file in office.files])


def public(office: Installation) -> dict[str, list[str]]:
    return contents(office.connection, records=False)


def test_one_of_two_installations_goes_and_the_other_stays(office: Installation, tmp_path: Path) -> None:
    """Whichever goes, the database is what it was without it, and the same files come in again."""
    first = public(office)
    busan = other(office, tmp_path)
    assert busan.import_().exit_code == 0
    both = public(office)
    assert office.undo(2).exit_code == 0
    assert public(office) == first
    assert office.all("select id, status from imports.runs order by id") == [(1, "verified"), (2, "undone")]
    assert busan.import_().runs == [3]
    assert office.undo(1).exit_code == 0
    assert (busan.problems(), busan.verify().exit_code) == ([], 0)
    assert {table: len(rows) for table, rows in public(office).items()} == {
        table: len(rows) - len(first[table]) * (table != "topics") for table, rows in both.items()
    }


@pytest.mark.quick
def test_after_undo_the_database_is_as_empty_as_before(office: Installation, database: Settings) -> None:
    """Nothing of it is left, in whatever table, and the next ids are past those that it had."""
    with closing(psycopg2.connect(database.conninfo(owner=True))) as untouched:
        empty = contents(untouched, records=False)
    highest = office.one("select max(id) from audio_files")
    outcome = office.undo()
    assert outcome.exit_code == 0
    assert public(office) == empty
    assert office.one("select count(*) from imports.chunks") == 0
    office.change("insert into audio_files (file_name) values ('next')")
    assert office.one("select id from audio_files") > highest
    assert office.import_().exit_code == 0
    assert office.problems() == []


def test_what_sync_brought_goes_too(office: Installation, database: Settings) -> None:
    """New, changed, rejected and unmapped rows of a later content."""
    office.write(
        "insert into audio_files (id, file_path, file_name) values (700, '/x', 'x'), (701, '/y', x'00');"
        "create table notes (note); insert into notes values (1); delete from audio_metrics where id = 1;"
    )
    assert office.sync().exit_code == 3
    assert office.undo().exit_code == 0
    with closing(psycopg2.connect(database.conninfo(owner=True))) as untouched:
        assert public(office) == contents(untouched, records=False)
    assert (
        office.one("select count(*) from imports.unmapped") + office.one("select count(*) from imports.rejected") == 0
    )


def test_rows_that_the_application_changed_or_added_are_listed_first(office: Installation) -> None:
    """Refused as a whole; --force gives them up, and what the application added elsewhere stays."""
    office.change("update audio_files set file_name = 'ours' where id = 1")
    office.change("insert into processing_logs (audio_file_id, processing_step, start_time) values (2, 'own', now())")
    office.change("insert into audio_files (id, file_name) values (900, 'own')")
    office.change("insert into processing_logs (audio_file_id, processing_step, start_time) values (900, 'own', now())")
    before = contents(office.connection)
    outcome = office.undo()
    assert (outcome.exit_code, outcome.refused) == (4, True)
    log = office.one("select min(id) from processing_logs where processing_step = 'own'")
    assert {(clash.table, clash.key, clash.columns) for clash in outcome.clashes} == {
        ("audio_files", 1, ("file_name", "updated_at")),
        ("processing_logs", log, ()),
    }
    assert contents(office.connection) == before
    assert office.undo(force=True).exit_code == 0
    assert office.all("select id from audio_files") == [(900,)]
    assert office.all("select audio_file_id from processing_logs") == [(900,)]


def test_children_of_what_the_application_added_go_with_it(office: Installation) -> None:
    """A session that was added to an imported recording, and what hangs on that."""
    office.change(
        "insert into consultation_sessions (id, audio_file_id, session_date, duration_minutes) values (50, 1, now(), 1)"
    )
    office.change("insert into quality_metrics (session_id, metric_name, metric_value) values (50, 'own', 1)")
    assert [clash.table for clash in office.undo().clashes] == ["consultation_sessions"]
    assert office.undo(force=True).exit_code == 0
    assert office.all("select 1 from consultation_sessions union all select 1 from quality_metrics") == []


def test_an_import_that_others_refer_to_goes_last(office: Installation, imported: Imported, tmp_path: Path) -> None:
    """Sessions of one import refer to recordings of another."""
    file = Path(shutil.copy(imported.folder / "samples" / "consultation_quality.sqlite", tmp_path))
    quality = replace(office, files=[file])
    assert quality.import_().exit_code == 0
    for force in (False, True):
        with pytest.raises(TargetError, match=r"rows of import 2 refer to rows of import 1: .*'callytics undo 2'"):
            office.undo(1, force=force)
    assert office.undo(2).exit_code == 0
    assert office.undo(1).exit_code == 0


@pytest.mark.parametrize("office", ["quality"], indirect=True)
def test_sessions_of_accounts_end_with_them(office: Installation) -> None:
    """What no import fills follows by the schema's own rules."""
    office.change("insert into agent_sessions (id, account_id, expires_at) values ('t', 1, now())")
    assert office.undo().exit_code == 0
    assert office.one("select count(*) from agent_sessions") == 0


def test_dry_run_deletes_nothing(office: Installation) -> None:
    before = contents(office.connection)
    outcome = office.undo(dry_run=True)
    rows = office.one("select sum(copied + inserted)::bigint from imports.chunks")
    assert (outcome.exit_code, outcome.changed) == (0, rows)
    assert contents(office.connection) == before


def test_what_can_t_be_undone(office: Installation) -> None:
    with pytest.raises(TargetError, match="there is no import 7"):
        office.undo(7)
    office.undo(1)
    with pytest.raises(TargetError, match="import 1 was undone already"):
        office.undo(1)


def test_every_row_is_traced_to_its_import(office: Installation, tmp_path: Path) -> None:
    """In a database with two installations and rows of its own, after a sync of the first."""
    busan = other(office, tmp_path)
    busan.import_()
    office.change("insert into audio_files (file_name) values ('own')")
    office.write("delete from audio_files where id = 2; update audio_files set channels = 5;")
    assert office.sync().exit_code == 0
    traced = office.all(
        "select o.import, o.file, count(*), min(f.id - o.source_id), max(f.id - o.source_id) "
        "from audio_files f left join lateral imports.origin_of('audio_files', f.id) o on true group by 1, 2 order by 1"
    )
    offset = office.one("select id_offset from imports.tables where source_table = 'audio_files' and id_offset > 0")
    assert traced == [
        (1, str(office.files[0]), 5, 0, 0),
        (2, str(busan.files[0]), 4, offset, offset),
        (None, None, 1, None, None),
    ]


def test_topics_come_in_again_by_their_own_numbers(installation: Installation) -> None:
    """The topic that an undo puts back makes room for an import's own, as the one that came with the schema does."""
    script = (
        "create table Topic (ID integer primary key, Name text); insert into Topic values (1, '요금'), (2, '배송');"
    )
    installation.write(script)
    for run in (1, 2):
        assert installation.import_().exit_code == 0
        assert installation.all("select id, name from topics order by id") == [(1, "요금"), (2, "배송")]
        assert installation.undo(run).exit_code == 0
        assert installation.all("select id, name from topics") == [(1, "Unknown")]
