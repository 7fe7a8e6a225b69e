"""Sync: what the application went on writing to SQLite arrives, and nothing that was written in PostgreSQL is lost."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callytics.exceptions import Interrupted, SourceError
from callytics.importer.outcome import Synced
from callytics.importer.target.writing.staging import Staging
from tests.support.installation import Installation, contents

pytestmark = pytest.mark.slow

DIRTY = ("text", "", 7, -1, 2**62, 3.5, 1.0, b"\x00blob", None, "2024-02-30 10:00:00", "2024-05-01", "nul\0", "{}", "1")
"""Values of every storage class, some of which a column can take, some only otherwise, some not at all."""


class Writer:
    """An application that does anything to a SQLite file, as often as it is asked to."""

    def __init__(self, file: Path, chance: random.Random, dirt: float) -> None:
        self.sqlite = sqlite3.connect(file)
        self.chance, self.dirt = chance, dirt
        self.tables = [
            name
            for (name,) in self.sqlite.execute(
                "select name from sqlite_master where type = 'table' and name not like 'sqlite@_%' escape '@'"
            )
        ]

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.sqlite.commit()
        self.sqlite.close()

    def everywhere(self) -> None:
        """Change, delete and add rows in every table."""
        for table in self.tables:
            for _ in range(3):
                self.chance.choice((self.change, self.change, self.remove, self.copy, self.copy))(table)

    def columns(self, table: str) -> list[str]:
        info = self.sqlite.execute("select name, pk from pragma_table_info(?)", (table,))
        return [name for name, pk in info if not pk]

    def rowids(self, table: str) -> list[int]:
        rows = self.sqlite.execute(f'select rowid from "{table}"').fetchall()
        return self.chance.sample([rowid for (rowid,) in rows], min(len(rows), self.chance.randint(1, 3)))

    def change(self, table: str) -> None:
        for rowid in self.rowids(table):
            column = self.chance.choice(self.columns(table))
            self._try(f'update "{table}" set "{column}" = ? where rowid = ?', self.value(table, column), rowid)

    def value(self, table: str, column: str) -> Any:
        """Return a value of another row, changed a little, or anything."""
        if self.chance.random() < self.dirt:
            return self.chance.choice(DIRTY)
        values = self.sqlite.execute(f'select "{column}" from "{table}" order by rowid').fetchall()
        (value,) = self.chance.choice(values or [(None,)])
        return value + " 새" if isinstance(value, str) and not value[:1].isdigit() and column not in LISTED else value

    def remove(self, table: str) -> None:
        for rowid in self.rowids(table):
            self._try(f'delete from "{table}" where rowid = ?', rowid)

    def copy(self, table: str) -> None:
        names = ", ".join(f'"{name}"' for name in self.columns(table))
        for rowid in self.rowids(table):
            self._try(f'insert into "{table}" ({names}) select {names} from "{table}" where rowid = ?', rowid)

    def _try(self, statement: str, *values: object) -> None:
        with suppress(sqlite3.IntegrityError):
            self.sqlite.execute(statement, values)


LISTED = {"processing_status", "status", "analysis_status"}


@pytest.mark.parametrize(
    ("office", "dirt", "times"), [("2", 0.0, 2), ("2", 0.4, 2), ("3", 0.2, 1)], indirect=["office"]
)
def test_whatever_the_application_did_arrives(office: Installation, dirt: float, times: int) -> None:
    """Random changes in every table: each sync leaves what an import would have, by a check of its own."""
    chance = random.Random(f"{dirt} {times}")
    for _ in range(times):
        for file in office.files:
            with Writer(file, chance, dirt) as writer:
                writer.everywhere()
        outcome = office.sync()
        assert (outcome.differences, outcome.clashes) == ([], [])
        assert outcome.changed > 20
        assert office.problems() == []
    assert office.verify().exit_code == outcome.exit_code
    assert outcome.exit_code == 3 or not dirt
    before = contents(office.connection)
    again = office.sync()
    assert (again.changed, again.exit_code) == (0, outcome.exit_code)
    assert contents(office.connection) == before


def test_what_was_rejected_and_is_fine_now_is_loaded_and_the_other_way_round(office: Installation) -> None:
    """Rows move between the table and imports.rejected; figures and normalisations follow."""
    office.write(
        "update audio_files set sample_rate = 'fast' where id = 1;"
        "update audio_files set created_at = '2024-05-01' where id = 2;"
    )
    assert office.sync().exit_code == 3
    assert office.all("select source_rowid, source_column from imports.rejected") == [(1, "sample_rate")]
    assert office.all("select normalisation, rows from imports.normalisations") == [("date_to_timestamp", 1)]
    assert office.all("select id from audio_files where id < 3") == [(2,)]
    assert office.problems() == []
    office.write("update audio_files set sample_rate = 8000, created_at = null;")
    assert office.sync().exit_code == 0
    assert office.all("select 1 from imports.rejected union all select 2 from imports.normalisations") == []
    assert (office.problems(), office.verify().exit_code) == ([], 0)
    assert not_valid(office) == []


def not_valid(office: Installation) -> list[str]:
    return [
        name for (name,) in office.all("select conname from pg_constraint where contype = 'f' and not convalidated")
    ]


def test_rows_that_only_postgresql_refuses(office: Installation) -> None:
    """A table that lost key and constraints in SQLite: a changed row and a new one are rejected, and come back."""
    office.write(
        "create table copied as select * from speaker_segments order by -id; drop table speaker_segments; "
        "create table speaker_segments as select * from copied; drop table copied; "
        "update speaker_segments set speaker_type = 'nobody' where id = 3; "
        "insert into speaker_segments (id, speaker_id, speaker_type, start_time, end_time)"
        " values (9001, 's', 'agent', 0, 1);"
    )
    outcome = office.sync()
    assert (outcome.exit_code, outcome.differences) == (3, [])
    assert dict(office.all("select source_row ->> 'id', substr(reason, 1, 28) from imports.rejected")) == {
        "3": 'new row for relation "speake',
        "9001": 'null value in column "audio_',
    }
    assert office.all("select id from speaker_segments where id in (3, 9001)") == []
    assert office.verify().exit_code == 3
    before = contents(office.connection)
    assert office.sync().changed == 0
    assert contents(office.connection) == before
    office.write("update speaker_segments set speaker_type = 'agent', audio_file_id = 1 where id in (3, 9001);")
    assert office.sync().exit_code == 0
    assert office.verify().exit_code == 0
    assert office.all("select 1 from imports.rejected") == []


@pytest.mark.parametrize("office", ["quality"], indirect=True)
def test_unique_values_that_rows_exchange(office: Installation) -> None:
    """Two accounts swap their names: no order of updates does it, and rows refer to both."""
    name = "update agent_accounts set username = '{}' where id = {};"
    office.write(name.format("a", 1) + name.format("b", 2))
    assert office.sync().exit_code == 0
    office.write(name.format("c", 1) + name.format("a", 2) + name.format("b", 1))
    outcome = office.sync()
    assert outcome.exit_code == 0
    assert not_valid(office) == ["consultation_sessions_audio_file_id_fkey"]
    assert office.all("select username from agent_accounts where id < 3 order by id") == [("b",), ("a",)]


def test_children_whose_parent_is_deleted_stay(office: Installation) -> None:
    """SQLite enforces no foreign key: orphans survive, as in an import, and find their parent again later."""
    office.write("create table kept as select * from audio_files; delete from audio_files where id = 1;")
    outcome = office.sync()
    assert (outcome.exit_code, office.problems()) == (0, [])
    assert {key.table_name for key in outcome.not_validated} >= {"speaker_segments", "audio_metrics"}
    assert office.one("select count(*) from speaker_segments where audio_file_id = 1") > 0
    office.write("insert into audio_files select * from kept where id = 1;")
    outcome = office.sync()
    assert (outcome.exit_code, outcome.not_validated, not_valid(office)) == (0, [], [])
    assert office.verify().exit_code == 0


def test_tables_and_columns_come_and_go(office: Installation) -> None:
    """An unknown table, a new column, a table that is dropped, and one of ours that the file did not have yet."""
    office.write(
        "create table notes (id integer primary key, note); insert into notes values (1, 'a'), (2, x'00');"
        "alter table audio_files add column mood text; update audio_files set mood = 'good' where id = 1;"
        "drop table processing_logs;"
    )
    assert office.sync().exit_code == 0
    assert (office.problems(), office.verify().exit_code) == ([], 0)
    assert office.one("select count(*) from processing_logs") == 0
    assert office.one("select count(*) from imports.unmapped") == 2 + office.one("select count(*) from audio_files")
    office.write(
        "create table processing_logs (id integer primary key, audio_file_id integer, processing_step text,"
        " status text, start_time datetime, end_time datetime, error_message text, created_at datetime);"
        "insert into processing_logs (id, audio_file_id, processing_step, status, start_time)"
        " values (1, 1, 's', 'completed', '2024-01-01 00:00:00');"
        "drop table notes; update audio_files set mood = 'bad' where id = 1;"
    )
    outcome = office.sync()
    assert (outcome.exit_code, office.problems(), office.verify().exit_code) == (0, [], 0)
    assert office.all("select source_table from imports.unmapped group by 1") == [("audio_files",)]


def test_dates_that_move_a_row_to_another_month(office: Installation) -> None:
    office.write("update transcriptions set created_at = '2031-07-01 00:00:00' where id = 1;")
    assert office.sync().exit_code == 0
    assert office.one("select tableoid::regclass::text from transcriptions where id = 1") == "transcriptions_2031_07"
    assert office.problems() == []


@pytest.mark.quick
def test_the_next_id_is_past_those_that_sqlite_gave(office: Installation) -> None:
    office.write("insert into audio_files (id, file_path, file_name) values (500, '/x', 'x');")
    office.write("delete from audio_files where id = 500;")
    office.sync()
    office.change("insert into audio_files (file_name) values ('first of its own')")
    assert office.one("select max(id) from audio_files") == 501


@pytest.mark.quick
def test_rows_changed_in_postgresql_are_listed_and_nothing_is_written(office: Installation) -> None:
    """On both sides, deleted there, and deleted in SQLite: each is named, none by its content.

    A rehearsal also names those that only PostgreSQL has changed, which a sync names once it has written.
    """
    office.change("update audio_files set file_name = 'ours' where id in (1, 2, 3)")
    office.change("delete from speaker_segments where id = 1")
    office.write(
        "update audio_files set file_name = 'theirs' where id = 1; update audio_files set channels = 7 where id > 3;"
    )
    office.write("delete from audio_files where id = 3;")
    before, files = contents(office.connection), sorted(office.options.snapshots.iterdir())
    outcome = office.sync()
    assert (outcome.exit_code, outcome.refused) == (4, True)
    changed = ("file_name", "updated_at")
    both = {
        ("audio_files", 1): (changed, "was changed in PostgreSQL and in SQLite"),
        ("audio_files", 3): (changed, "was changed in PostgreSQL and deleted in SQLite"),
    }
    assert listed(outcome) == both
    assert listed(office.sync(dry_run=True)) == both | {
        ("audio_files", 2): (changed, "was changed in PostgreSQL"),
        ("speaker_segments", 1): ((), "was deleted in PostgreSQL"),
        ("transcriptions", 1): ((), "was deleted in PostgreSQL"),
    }
    assert contents(office.connection) == before
    assert sorted(office.options.snapshots.iterdir()) == files


def listed(outcome: Synced) -> dict[tuple[str, int], tuple[tuple[str, ...], str]]:
    """Return the columns and the finding of each clash."""
    return {(clash.table, clash.key): (clash.columns, clash.finding) for clash in outcome.clashes}


def test_rows_that_only_postgresql_has_changed_stay_and_are_listed_once_the_others_are_written(
    office: Installation,
) -> None:
    office.change("update audio_files set file_name = 'ours' where id = 2")
    office.change("delete from audio_metrics where audio_file_id = 1")
    office.write("update audio_files set channels = 7 where id = 4;")
    outcome = office.sync()
    assert (outcome.exit_code, outcome.refused, outcome.changed, outcome.clashed) == (4, False, 1, 2)
    assert listed(outcome) == {
        ("audio_files", 2): (("file_name", "updated_at"), "was changed in PostgreSQL"),
        ("audio_metrics", 1): ((), "was deleted in PostgreSQL"),
    }
    assert office.one("select file_name from audio_files where id = 2") == "ours"
    assert office.one("select channels from audio_files where id = 4") == 7
    # Again, with nothing to write: the same rows; and what is decided ends it.
    assert (office.sync().exit_code, office.sync(choice="ours").exit_code) == (4, 0)
    assert office.sync(choice="theirs").exit_code == 0
    assert (office.problems(), office.verify().exit_code) == ([], 0)


def test_ours_keeps_what_postgresql_holds_and_takes_the_rest(office: Installation) -> None:
    office.change("update audio_files set file_name = 'ours' where id in (1, 2)")
    office.change("delete from audio_metrics where audio_file_id = 1")
    office.write("update audio_files set file_name = 'theirs' where id in (1, 4);")
    outcome = office.sync(choice="ours")
    assert (outcome.exit_code, outcome.clashed, outcome.changed) == (0, 3, 1)
    assert office.all("select id from audio_files where file_name = 'ours' order by id") == [(1,), (2,)]
    assert office.all("select id from audio_files where file_name = 'theirs'") == [(4,)]
    assert office.one("select count(*) from audio_metrics where audio_file_id = 1") == 0
    assert office.all("select kept, updated, conflicts from imports.syncs") == [("ours", 1, 1)]
    assert office.verify().exit_code == 4


def test_theirs_takes_what_sqlite_holds(office: Installation) -> None:
    office.change("update audio_files set file_name = 'ours' where id in (1, 2, 3)")
    office.change("delete from audio_metrics where audio_file_id = 1")
    office.write("update audio_files set file_name = 'theirs' where id = 1; delete from audio_files where id = 3;")
    office.write(
        "delete from speaker_segments where audio_file_id = 3; delete from transcriptions where audio_file_id = 3;"
    )
    outcome = office.sync(choice="theirs")
    assert outcome.exit_code == 0
    assert (office.problems(), office.verify().exit_code) == ([], 0)


def test_a_row_that_the_application_touched_has_changed(office: Installation) -> None:
    """Every update of the application moves updated_at; ours leave it alone."""
    office.write("update audio_files set channels = channels + 1 where id = 2;")
    assert office.sync().exit_code == 0
    office.change("update audio_files set channels = channels where id = 1")
    (clash,) = office.sync().clashes
    assert (clash.key, clash.columns) == (1, ("updated_at",))


def test_rows_that_the_application_added_stay(office: Installation) -> None:
    office.change("insert into audio_files (file_name) values ('own')")
    own = office.all("select * from audio_files where file_name = 'own'")
    office.write("update audio_files set channels = 9;")
    assert office.sync().exit_code == 0
    assert office.all("select * from audio_files where file_name = 'own'") == own
    assert office.verify().exit_code == 0


@pytest.mark.parametrize("choice", [None, "ours", "theirs"])
def test_an_id_that_both_sides_gave_is_refused(choice: str | None, office: Installation) -> None:
    office.change("insert into audio_files (file_name) values ('own')")
    office.write("insert into audio_files (file_path, file_name) values ('/other', 'other');")
    before = contents(office.connection)
    outcome = office.sync(choice=choice)
    assert (outcome.exit_code, outcome.unsolvable) == (4, 1)
    assert [clash.finding for clash in outcome.clashes] == ["was given to another row in PostgreSQL"]
    assert contents(office.connection) == before


def test_an_orphan_does_not_find_a_row_that_postgresql_added(office: Installation) -> None:
    office.change("insert into audio_files (file_name) values ('own')")
    own = office.one("select id from audio_files where file_name = 'own'")
    office.write(f"update audio_metrics set audio_file_id = {own} where id = 1;")
    outcome = office.sync(choice="theirs")
    assert (outcome.exit_code, outcome.unsolvable) == (4, 1)
    assert f"refers to row {own} of audio_files" in outcome.clashes[0].finding


def test_a_deleted_parent_of_a_row_that_postgresql_added(office: Installation) -> None:
    office.change("insert into processing_logs (audio_file_id, processing_step, start_time) values (1, 'own', now())")
    office.write("delete from audio_files where id = 1;")
    outcome = office.sync(choice="theirs")
    assert (outcome.exit_code, outcome.unsolvable) == (4, 1)
    assert outcome.clashes[0].table == "processing_logs"
    assert office.one("select count(*) from processing_logs where processing_step = 'own'") == 1


def test_dry_run_writes_nothing(office: Installation) -> None:
    office.write("update audio_files set channels = 9; delete from audio_metrics where id = 1;")
    before, files = contents(office.connection), sorted(office.options.snapshots.iterdir())
    outcome = office.sync(dry_run=True)
    counted = {
        row["source_table"]: (row["updated"], row["deleted"])
        for row in outcome.changes
        if row["updated"] or row["deleted"]
    }
    assert counted == {"audio_files": (6, 0), "audio_metrics": (0, 1)}
    assert contents(office.connection) == before
    assert sorted(office.options.snapshots.iterdir()) == files


def test_without_the_snapshot_of_the_import_it_says_what_to_put_back(office: Installation) -> None:
    (snapshot,) = office.options.snapshots.glob("audio_analysis-*.sqlite")
    snapshot.rename(snapshot.with_suffix(".away"))
    office.write("update audio_files set channels = 9;")
    with pytest.raises(SourceError, match=rf"^the snapshot {snapshot} of import 1 is gone: put it back \(SHA-256 "):
        office.sync()
    shutil.copy(office.files[0], snapshot)
    with pytest.raises(SourceError, match="was changed: put back the one that was taken"):
        office.sync()


def test_a_file_that_was_never_imported(office: Installation, tmp_path: Path) -> None:
    other = Path(shutil.copy(office.files[0], tmp_path / "other.sqlite"))
    with pytest.raises(SourceError, match=r"other\.sqlite was never imported here .*'callytics import.* with --of$"):
        office.sync([other])


def test_the_first_snapshot_and_the_latest_are_kept(office: Installation) -> None:
    for channels in (7, 8, 9):
        office.write(f"update audio_files set channels = {channels};")
        office.sync()
    kept = {path for (path,) in office.all("select snapshot_path from imports.sources")}
    first = {office.one("select snapshot_before from imports.syncs order by id limit 1")}
    assert {str(path) for path in office.options.snapshots.iterdir()} == kept | first


def test_what_is_written_after_the_cut_over_does_not_trouble_the_proof(office: Installation) -> None:
    """The proof is of the moment at which the application may begin to write, not of when it gets there."""
    office.write("update audio_files set channels = 7 where id = 1;")
    said: list[str] = []

    def at_once(line: str) -> None:
        said.append(line)
        office.change("update audio_files set file_name = 'at once'; delete from audio_metrics")

    writing = replace(office, options=replace(office.options, notice=at_once))
    outcome = writing.sync()
    assert [line.partition(",")[0] for line in said] == ["1 row written and committed"]
    assert (outcome.exit_code, outcome.changed, outcome.clashes) == (0, 1, [])
    assert office.one("select count(*) from audio_files where file_name <> 'at once'") == 0


def test_a_proof_that_was_cut_off_is_made_up_for_by_verify(office: Installation) -> None:
    office.write("update audio_files set channels = 7 where id = 1; delete from audio_metrics where id = 1;")

    def cut_off(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        replace(office, options=replace(office.options, notice=cut_off)).sync()
    assert office.one("select channels from audio_files where id = 1") == 7
    assert office.one("select count(*) from imports.tables where verified_rows is not null") == 0
    assert (office.problems(), office.verify().exit_code) == ([], 0)
    assert office.one("select count(*) from imports.tables where verified_rows is distinct from source_rows") == 0
    assert (office.sync().changed, office.sync().exit_code) == (0, 0)


def test_a_snapshot_that_is_changed_before_its_proof_proves_nothing(office: Installation) -> None:
    office.write("update audio_files set channels = 7 where id = 1;")

    def spoil(_line: str) -> None:
        (new,) = {Path(path) for (path,) in office.all("select snapshot_path from imports.sources")}
        with new.open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"x")

    with pytest.raises(SourceError, match="was changed while it was used"):
        replace(office, options=replace(office.options, notice=spoil)).sync()


def test_an_import_of_the_new_content_says_that_it_is_there(office: Installation) -> None:
    office.write("update audio_files set channels = 9;")
    office.sync()
    before = contents(office.connection)
    assert office.import_().exit_code == 0
    assert contents(office.connection) == before


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("update audio_files set file_name = 'meanwhile' where id = 1", "was changed in PostgreSQL and in SQLite"),
        ("delete from audio_files where id = 1", "was deleted in PostgreSQL"),
        ("insert into audio_files (id, file_name) values (800, 'x')", "was given to another row in PostgreSQL"),
    ],
)
def test_what_is_written_in_postgresql_during_a_sync_is_not_lost(
    statement: str, finding: str, office: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between comparing and writing the application is quicker: it is compared again, and then found."""
    office.write("update audio_files set channels = 9 where id = 1;")
    office.write("insert into audio_files (id, file_path, file_name) values (800, '/', 'y');")
    compared = Staging.prepare
    late = iter([statement])

    def prepare(staging: Staging) -> None:
        for one in late:
            office.change(one)
        compared(staging)

    monkeypatch.setattr(Staging, "prepare", prepare)
    outcome = office.sync()
    assert outcome.refused
    assert finding in {clash.finding for clash in outcome.clashes}
    assert office.one("select count(*) from audio_files where channels = 9") == 0


def test_a_row_that_is_added_to_a_deleted_parent_during_a_sync(
    office: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither cascading nor an orphan: it is compared again, and then refused."""
    for table in ("transcriptions", "speaker_segments", "audio_metrics", "processing_logs"):
        office.write(f"delete from {table} where audio_file_id = 1;")
    office.write("delete from audio_files where id = 1;")
    compared = Staging.prepare
    late = iter(
        ["insert into processing_logs (audio_file_id, processing_step, start_time) values (1, 'own', '2024-01-01')"]
    )

    def prepare(staging: Staging) -> None:
        compared(staging)
        for one in late:
            office.change(one)

    monkeypatch.setattr(Staging, "prepare", prepare)
    outcome = office.sync()
    assert (outcome.refused, outcome.clashes[0].table) == (True, "processing_logs")
    assert office.one("select count(*) from processing_logs where processing_step = 'own'") == 1
    assert not_valid(office) == []


def test_killed_at_any_moment_it_has_happened_or_not(office: Installation) -> None:
    """SIGKILL of the sync: the database holds the old content or the new one, and the same command finishes."""
    office.write("update audio_files set channels = 9;")
    office.write("update transcriptions set text_content = text_content || '!'; delete from processing_logs;")
    before = contents(office.connection, records=False)
    delays = random.Random(5)
    for _ in range(4):
        process = office.start("sync", *office.files)
        time.sleep(delays.uniform(0.4, 1.6))
        process.kill()
        process.communicate()
        if contents(office.connection, records=False) != before:
            assert office.problems() == []
            break
    assert office.finish("sync", *office.files) == 0
    assert (office.problems(), office.verify().exit_code) == ([], 0)
    assert office.one("select snapshot_path from imports.sources") in map(str, office.options.snapshots.iterdir())


def test_exit_codes_and_words(office: Installation) -> None:
    """The command says what it did, and that nothing had changed."""
    office.write("update audio_files set channels = 9 where id = 1;")
    assert "1 row would change, within about " in office.said("sync", "--dry-run", *office.files)
    assert "Verified: 1 row was changed, all values are equal." in office.said("sync", *office.files)
    assert "Verified: nothing had changed." in office.said("sync", *office.files)
    office.change("update audio_files set channels = 3 where id = 1")
    listed = office.said("sync", *office.files, code=4)
    assert "CLASH audio_files, row 1 (channels, updated_at): was changed in PostgreSQL" in listed
    assert "0 rows were changed, but 1 other was changed in PostgreSQL since the import, and not in SQLite." in listed
    office.write("update audio_files set channels = 8 where id = 1;")
    listed = office.said("sync", *office.files, code=4)
    assert "Refused, nothing was changed: 1 row was changed in PostgreSQL since the import." in listed
    assert json.loads(office.said("sync", "--json", *office.files, code=4))["clashes"][0]["key"] == 1
    assert "1 clash was settled by --theirs" in office.said("sync", "--theirs", *office.files)
    assert "Aborted!" in office.said("undo", "1", code=1)
    assert "Import 1 is undone: " in office.said("undo", "1", "--yes")
    assert "import 1 was undone already" in office.said("undo", "1", code=1)
