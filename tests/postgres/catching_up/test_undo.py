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
from callytics.trial.sample import write_sample
from tests.support.house import Homes, House, contents


def other(house: House, folder: Path) -> House:
    """Return another installation, with the same files as the one that is imported, not imported yet."""
    write_sample(folder / "other", generation=3, calls=4, seed=9)
    return replace(house, files=[folder / "other" / file.name for file in house.files])


def public(house: House) -> dict[str, list[str]]:
    return contents(house.connection, records=False)


def test_one_of_two_installations_goes_and_the_other_stays(house: House, tmp_path: Path) -> None:
    """Whichever goes, the database is what it was without it, and the same files come in again."""
    first = public(house)
    busan = other(house, tmp_path)
    assert busan.imported().exit_code == 0
    both = public(house)
    assert house.undone(2).exit_code == 0
    assert public(house) == first
    assert house.all("select id, status from imports.runs order by id") == [(1, "verified"), (2, "undone")]
    assert busan.imported().runs == [3]
    assert house.undone(1).exit_code == 0
    assert (busan.problems(), busan.verified().exit_code) == ([], 0)
    assert {table: len(rows) for table, rows in public(house).items()} == {
        table: len(rows) - len(first[table]) * (table != "topics") for table, rows in both.items()
    }


def test_after_undo_the_database_is_as_empty_as_before(house: House, database: Settings) -> None:
    """Nothing of it is left, in whatever table, and the next ids are past those that it had."""
    with closing(psycopg2.connect(database.conninfo(owner=True))) as untouched:
        empty = contents(untouched, records=False)
    highest = house.one("select max(id) from audio_files")
    outcome = house.undone()
    assert outcome.exit_code == 0
    assert public(house) == empty
    assert house.one("select count(*) from imports.chunks") == 0
    house.change("insert into audio_files (file_name) values ('next')")
    assert house.one("select id from audio_files") > highest
    assert house.imported().exit_code == 0
    assert house.problems() == []


def test_what_sync_brought_goes_too(house: House, database: Settings) -> None:
    """New, changed, rejected and unmapped rows of a later content."""
    house.write(
        "insert into audio_files (id, file_path, file_name) values (700, '/x', 'x'), (701, '/y', x'00');"
        "create table notes (note); insert into notes values (1); delete from audio_metrics where id = 1;"
    )
    assert house.synced().exit_code == 3
    assert house.undone().exit_code == 0
    with closing(psycopg2.connect(database.conninfo(owner=True))) as untouched:
        assert public(house) == contents(untouched, records=False)
    assert house.one("select count(*) from imports.unmapped") + house.one("select count(*) from imports.rejected") == 0


def test_rows_that_the_application_changed_or_added_are_listed_first(house: House) -> None:
    """Refused as a whole; --force gives them up, and what the application added elsewhere stays."""
    house.change("update audio_files set file_name = 'ours' where id = 1")
    house.change("insert into processing_logs (audio_file_id, processing_step, start_time) values (2, 'own', now())")
    house.change("insert into audio_files (id, file_name) values (900, 'own')")
    house.change("insert into processing_logs (audio_file_id, processing_step, start_time) values (900, 'own', now())")
    before = contents(house.connection)
    outcome = house.undone()
    assert (outcome.exit_code, outcome.refused) == (4, True)
    log = house.one("select min(id) from processing_logs where processing_step = 'own'")
    assert {(clash.table, clash.key, clash.columns) for clash in outcome.clashes} == {
        ("audio_files", 1, ("file_name", "updated_at")),
        ("processing_logs", log, ()),
    }
    assert contents(house.connection) == before
    assert house.undone(force=True).exit_code == 0
    assert house.all("select id from audio_files") == [(900,)]
    assert house.all("select audio_file_id from processing_logs") == [(900,)]


def test_children_of_what_the_application_added_go_with_it(house: House) -> None:
    """A session that was added to an imported recording, and what hangs on that."""
    house.change(
        "insert into consultation_sessions (id, audio_file_id, session_date, duration_minutes) values (50, 1, now(), 1)"
    )
    house.change("insert into quality_metrics (session_id, metric_name, metric_value) values (50, 'own', 1)")
    assert [clash.table for clash in house.undone().clashes] == ["consultation_sessions"]
    assert house.undone(force=True).exit_code == 0
    assert house.all("select 1 from consultation_sessions union all select 1 from quality_metrics") == []


def test_an_import_that_others_refer_to_goes_last(house: House, homes: Homes, tmp_path: Path) -> None:
    """Sessions of one import refer to recordings of another."""
    file = Path(shutil.copy(homes.folder / "samples" / "consultation_quality.sqlite", tmp_path))
    quality = replace(house, files=[file])
    assert quality.imported().exit_code == 0
    for force in (False, True):
        with pytest.raises(TargetError, match=r"rows of import 2 refer to rows of import 1: .*'callytics undo 2'"):
            house.undone(1, force=force)
    assert house.undone(2).exit_code == 0
    assert house.undone(1).exit_code == 0


@pytest.mark.parametrize("house", ["quality"], indirect=True)
def test_sessions_of_accounts_end_with_them(house: House) -> None:
    """What no import fills follows by the schema's own rules."""
    house.change("insert into agent_sessions (id, account_id, expires_at) values ('t', 1, now())")
    assert house.undone().exit_code == 0
    assert house.one("select count(*) from agent_sessions") == 0


def test_dry_run_deletes_nothing(house: House) -> None:
    before = contents(house.connection)
    outcome = house.undone(dry_run=True)
    rows = house.one("select sum(copied + inserted)::bigint from imports.chunks")
    assert (outcome.exit_code, outcome.changed) == (0, rows)
    assert contents(house.connection) == before


def test_what_can_t_be_undone(house: House) -> None:
    with pytest.raises(TargetError, match="there is no import 7"):
        house.undone(7)
    house.undone(1)
    with pytest.raises(TargetError, match="import 1 was undone already"):
        house.undone(1)


# --- where rows come from ---------------------------------------------------------------------------------------------


def test_every_row_is_traced_to_its_import(house: House, tmp_path: Path) -> None:
    """In a database with two installations and rows of its own, after a sync of the first."""
    busan = other(house, tmp_path)
    busan.imported()
    house.change("insert into audio_files (file_name) values ('own')")
    house.write("delete from audio_files where id = 2; update audio_files set channels = 5;")
    assert house.synced().exit_code == 0
    traced = house.all(
        "select o.import, o.file, count(*), min(f.id - o.source_id), max(f.id - o.source_id) "
        "from audio_files f left join lateral imports.origin_of('audio_files', f.id) o on true group by 1, 2 order by 1"
    )
    offset = house.one("select id_offset from imports.tables where source_table = 'audio_files' and id_offset > 0")
    assert traced == [
        (1, str(house.files[0]), 5, 0, 0),
        (2, str(busan.files[0]), 4, offset, offset),
        (None, None, 1, None, None),
    ]
