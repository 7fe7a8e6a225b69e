"""Months that go to files and come back: every value as it was, and nothing half done."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import stat
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from callytics import archives
from callytics.archives import archive, files
from callytics.archives.months import this_month
from callytics.backup import ledger
from callytics.exceptions import ArchiveError, TargetError
from callytics.importer import Options, import_files
from callytics.schema.doctor import doctor
from tests.support.installation import Installation, quiet, write
from tests.support.servers import Databases

pytestmark = pytest.mark.slow

# Whatever a text can hold that COPY, gzip or JSON could trip over.
ODD = "탭\t줄\n역슬래시\\N \\. \x7f '따옴표' \"둘\" \u2028 👩\u200d💻 끝"
PARTS = ("agent_activity_logs", "processing_logs", "transcriptions", "utterances")


def silent(_line: str) -> None:
    """Say nothing."""


def month_of(office: Installation, table: str = "transcriptions") -> str:
    """Return the month with the most rows of a table."""
    return str(
        office.one(
            f"select to_char(created_at, 'YYYY-MM') from {table} where created_at < date_trunc('month', now()) "
            "group by 1 order by count(*) desc, 1 limit 1"
        )
    )


def everything(office: Installation) -> dict[str, list[Any]]:
    """Return every row of the partitioned tables as JSON, in which no value can hide behind another."""
    return {table: sorted(office.all(f"select to_jsonb(t)::text from {table} as t")) for table in PARTS}


def partitions(office: Installation) -> list[Any]:
    """Return the partitions with their bounds, keys and indexes."""
    return office.all(
        "select c.relname, pg_get_expr(c.relpartbound, c.oid), "
        "array(select pg_get_constraintdef(oid) || convalidated from pg_constraint where conrelid = c.oid order by 1), "
        "(select count(*) from pg_index where indrelid = c.oid and indisvalid), "
        "array(select acl::text from unnest(c.relacl) as acl order by 1) "
        "from pg_class as c where c.relispartition and c.relkind = 'r' order by 1"
    )


def diagnosis(office: Installation) -> list[str]:
    """Return what the doctor says, but for the database's size."""
    return [line for line in doctor.lines(doctor.examine(office.settings)) if not line.startswith("ok       disk")]


def folder_of(office: Installation) -> Path:
    return office.folder / "archives"


def archived(office: Installation, month: str) -> list[archives.Archived]:
    return archives.archive_months(office.settings, [month], folder_of(office), silent)


def restored(office: Installation, month: str, folder: Path | None = None) -> list[archives.Archived]:
    return archives.restore_month(office.settings, month, folder, silent)


@pytest.fixture
def month(office: Installation) -> str:
    """A month with rows, among them odd ones."""
    month = month_of(office)
    office.all(
        "update transcriptions set text_content = %s where id = ("
        "select id from transcriptions where to_char(created_at, 'YYYY-MM') = %s order by id limit 1)",
        ODD,
        month,
    )
    return month


@pytest.mark.parametrize("office", ["audio", "3"], indirect=True)
def test_a_month_goes_and_comes_back_with_every_value(office: Installation, month: str) -> None:
    before, parts_before = everything(office), partitions(office)
    said_before = diagnosis(office)
    gone = archived(office, month)
    assert {one.table: one.rows for one in gone} == {
        table: sum(f'"created_at": "{month}' in row for (row,) in rows)
        for table, rows in before.items()
        if any(name == f"{table}_{month.replace('-', '_')}" for name, *_ in parts_before)
    }
    assert sum(one.rows for one in gone) > 0
    assert everything(office) == {
        table: [row for row in rows if f'"created_at": "{month}' not in row[0]] for table, rows in before.items()
    }
    assert not [name for name, *_ in partitions(office) if name.endswith(month.replace("-", "_"))]
    back = restored(office, month)
    assert [(one.table, one.rows, one.notes) for one in back] == [(one.table, one.rows, ()) for one in gone]
    assert everything(office) == before
    assert partitions(office) == parts_before
    assert diagnosis(office) == said_before
    assert office.verify().exit_code == 4  # The odd text is not the file's.


def test_files_are_readable_without_us_and_by_nobody_else(office: Installation, month: str) -> None:
    archived(office, month)
    folder = folder_of(office) / month
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["month"] == month
    for part in manifest["tables"]:
        lines = gzip.decompress((folder / part["file"]).read_bytes()).decode().removesuffix("\n").split("\n")
        assert len(lines) == part["rows"]
        assert all(line.count("\t") == len(part["columns"]) - 1 for line in lines)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.quick
def test_an_import_whose_rows_are_away_is_left_alone_until_they_are_back(office: Installation) -> None:
    month = month_of(office)
    archived(office, month)
    remedy = f"bring them back first with 'callytics partitions restore {month}'"
    for attempt in (office.verify, office.sync, office.undo):
        with pytest.raises(TargetError, match=remedy):
            attempt()
    restored(office, month)
    assert office.verify().exit_code == 0
    assert office.sync().exit_code == 0
    assert office.undo().exit_code == 0


def test_another_import_is_not_kept_up_and_takes_no_ids_of_what_is_away(office: Installation, tmp_path: Path) -> None:
    month = month_of(office)
    before = office.all("select id from transcriptions order by 1")
    archived(office, month)
    copy = tmp_path / "second.sqlite"
    shutil.copy(office.file, copy)
    write(copy, "update audio_files set file_name = 'second ' || file_name")
    options = Options(tmp_path / "snapshots", again=True)
    assert import_files(office.settings, [copy], options, quiet).exit_code in (0, 3)
    restored(office, month)
    ids = [row for (row,) in office.all("select id from transcriptions")]
    assert len(ids) == len(set(ids)) == 2 * len(before)


def test_rows_that_come_for_an_archived_month_meet_those_that_return(office: Installation) -> None:
    month = month_of(office)
    before = office.one("select count(*) from transcriptions")
    archived(office, month)
    office.change(
        "insert into transcriptions (audio_file_id, text_content, start_time, end_time, created_at) "
        "select id, '뒤늦게 온 것', 0, 1, %s::timestamptz from audio_files limit 1",
        f"{month}-11",
    )
    restored(office, month)
    assert office.one("select count(*) from transcriptions") == before + 1
    assert (
        office.one("select count(*) from only transcriptions_default where to_char(created_at, 'YYYY-MM') = %s", month)
        == 0
    )


def test_an_id_that_was_given_away_meanwhile_is_not_given_twice(office: Installation) -> None:
    month = month_of(office)
    taken = office.one("select min(id) from transcriptions where to_char(created_at, 'YYYY-MM') = %s", month)
    archived(office, month)
    office.all(
        "insert into transcriptions (id, audio_file_id, text_content, start_time, end_time, created_at) "
        "select %s, id, 'x', 0, 1, now() from audio_files limit 1",
        taken,
    )
    before = everything(office)
    with pytest.raises(ArchiveError, match=f"id {taken} of transcriptions was given to another row"):
        restored(office, month)
    assert everything(office) == before
    office.all("delete from transcriptions where id = %s", taken)
    restored(office, month)


def test_a_month_that_is_back_already_is_said_to_be(office: Installation) -> None:
    month = month_of(office)
    files_of_it = archived(office, month)[0].file.parent
    restored(office, month)
    before = everything(office)
    with pytest.raises(ArchiveError, match=f"^{month} is in this database: if you have files of it"):
        restored(office, month)
    with pytest.raises(ArchiveError, match=f"^{month} is back already: .* so nothing was restored"):
        restored(office, month, files_of_it)
    office.all(
        "delete from transcriptions "
        "where id = (select max(id) from transcriptions where to_char(created_at, 'YYYY-MM') = %s)",
        month,
    )
    with pytest.raises(ArchiveError, match=f"^{month} is back already"):
        restored(office, month, files_of_it)
    assert len(everything(office)["transcriptions"]) == len(before["transcriptions"]) - 1


def test_rows_whose_call_is_gone_come_back_and_are_named(office: Installation) -> None:
    month = month_of(office)
    rows = {one.table: one.rows for one in archived(office, month)}
    office.all("truncate audio_files cascade")
    notes = [note for one in restored(office, month) for note in one.notes]
    assert any("stays NOT VALID" in note and note.startswith("transcriptions_") for note in notes)
    assert office.one("select count(*) from transcriptions") == rows["transcriptions"] > 0


@pytest.mark.parametrize("month", ["2024-13", "24-01", "2024-1", "now", "", "2024-01-01", "../../etc"])
def test_what_is_no_month_is_refused(office: Installation, month: str) -> None:
    for attempt in (archived, restored):
        with pytest.raises(ArchiveError, match="is no month: write it as 2024-05"):
            attempt(office, month)


def test_a_month_that_is_not_over_or_not_here_is_refused(office: Installation) -> None:
    with pytest.raises(ArchiveError, match="is not over"):
        archived(office, this_month())
    with pytest.raises(ArchiveError, match="there is no month 1999-01"):
        archived(office, "1999-01")
    with pytest.raises(ArchiveError, match="is not archived by the records"):
        restored(office, "1999-01")
    assert not folder_of(office).exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _swap(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"1", b"2")))


@pytest.mark.parametrize(
    ("mistreat", "said"), [(_cut, "was changed"), (_swap, "was changed"), (Path.unlink, "put it back")]
)
def test_a_file_that_is_not_what_was_written_restores_nothing(office: Installation, mistreat: Any, said: str) -> None:
    month = month_of(office)
    gone = archived(office, month)
    kept = gone[-1].file.read_bytes()
    before = everything(office)
    mistreat(gone[-1].file)
    with pytest.raises(ArchiveError, match=said):
        restored(office, month)
    assert everything(office) == before
    gone[-1].file.write_bytes(kept)
    restored(office, month)
    assert office.verify().exit_code == 0


def test_a_folder_that_holds_another_month_or_another_time_is_named_as_that(office: Installation, month: str) -> None:
    others = sorted({one.month for one in archives.all_months(office.settings) if one.rows > 0} - {this_month(), month})
    for one in (month, others[0]):
        archived(office, one)
    folder = folder_of(office)
    with pytest.raises(ArchiveError, match=rf"{others[0]} holds {others[0]}, not {month}: name the folder of {month}"):
        restored(office, month, folder / others[0])
    restored(office, month)
    partition = f"transcriptions_{month.replace('-', '_')}"
    office.all(f"delete from {partition} where id = (select min(id) from {partition})")
    archived(office, month)
    with pytest.raises(ArchiveError, match=f"{month} holds {month} as it was archived another time"):
        restored(office, month, folder / month)
    (folder / f"{month}.2/manifest.json").write_text("{")
    assert restored(office, month, folder / f"{month}.2")


def test_a_file_that_does_not_hold_the_rows_drops_nothing(
    office: Installation, month: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(office), partitions(office)
    monkeypatch.setattr(archive, "read_back", lambda *_: (0, "0"))
    with pytest.raises(ArchiveError, match="nothing was dropped"):
        archived(office, month)
    assert (everything(office), partitions(office)) == before
    assert list(folder_of(office).iterdir()) == []


def test_the_last_step_that_fails_leaves_the_month_where_it_was(
    office: Installation, month: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(office), partitions(office)

    def full(*_: object) -> None:
        raise ArchiveError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(files, "keep", full)
        with pytest.raises(ArchiveError, match="no space"):
            archived(office, month)
    assert (everything(office), partitions(office)) == before
    assert list(folder_of(office).iterdir()) == []
    assert office.one("select count(*) from imports.archives") == 0
    archived(office, month)


def test_a_killed_archive_changes_nothing_and_the_next_one_cleans_up(office: Installation, month: str) -> None:
    before = everything(office)
    with closing(psycopg2.connect(office.settings.conninfo())) as reader, reader.cursor() as cursor:
        # A reader of the table: the partitions are written and proved, and can't be detached.
        cursor.execute("select count(*) from transcriptions")
        process = office.start("partitions", "archive", month, "--into", folder_of(office), "--yes")
        deadline = time.monotonic() + 30
        waiting = "select exists (select from pg_locks where not granted and relation = 'transcriptions'::regclass)"
        while not office.one(waiting):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        cursor.execute("select count(*) from transcriptions")
    assert len(list(folder_of(office).glob(".archiving-*"))) == 1
    assert everything(office) == before
    archived(office, month)
    assert [path.name for path in folder_of(office).iterdir()] == [month]
    restored(office, month)
    assert everything(office) == before


def test_tables_that_are_always_in_use_are_named(
    office: Installation, month: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LOCK_ATTEMPTS", 2)
    monkeypatch.setattr(archive, "LOCK_TIME", "100ms")
    monkeypatch.setattr(archive, "LOCK_PAUSE_SECONDS", 0)
    before = partitions(office)
    with closing(psycopg2.connect(office.settings.conninfo())) as reader, reader.cursor() as cursor:
        cursor.execute("select count(*) from transcriptions")
        with pytest.raises(TargetError, match="in use all the time, so nothing was dropped"):
            archived(office, month)
    assert partitions(office) == before
    archived(office, month)


def test_a_folder_of_others_or_without_room_is_refused(
    office: Installation, month: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(office).mkdir()
    folder_of(office).chmod(0o777)
    with pytest.raises(ArchiveError, match="others may write to"):
        archived(office, month)
    folder_of(office).chmod(0o700)
    with monkeypatch.context() as patched:
        patched.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(ArchiveError, match=r"no room in .*, 1,000 bytes free|no room in"):
            archived(office, month)
    (folder_of(office) / "file").write_text("")
    with pytest.raises(ArchiveError, match="can't be used"):
        archives.archive_months(office.settings, [month], folder_of(office) / "file", silent)
    assert partitions(office)


def test_a_database_without_the_record_takes_the_files(office: Installation, databases: Databases, month: str) -> None:
    before = everything(office)
    # A database is copied while nobody is connected to it.
    office.connection.close()
    with databases.clone(office.settings) as twin:
        archived(office, month)
        with Installation.on(twin, office.folder, *[file.name for file in office.files]) as other:
            for table in PARTS:
                other.all(f"drop table if exists {table}_{month.replace('-', '_')}")
            with pytest.raises(ArchiveError, match="name their folder with --from"):
                restored(other, month)
            restored(other, month, folder_of(office) / month)
            assert everything(other) == before


def test_a_month_goes_and_comes_back_again_and_again(office: Installation, month: str) -> None:
    before = everything(office)
    for _ in range(3):
        archived(office, month)
        with pytest.raises(ArchiveError, match="there is no month"):
            archived(office, month)
        restored(office, month)
        with pytest.raises(ArchiveError, match="is in this database"):
            restored(office, month)
    assert everything(office) == before
    assert sorted(path.name for path in folder_of(office).iterdir()) == [month, f"{month}.2", f"{month}.3"]


def test_a_month_of_the_audit_trail_goes_and_comes_back_and_still_only_grows(office: Installation) -> None:
    month = "2024-02"
    office.all("select ensure_month_partitions('audit_log', '2024-02-01', '2024-02-01')")
    office.all(
        "insert into audit_log (created_at, action, calls, details) values (%s, 'call.read', '{7,8}', %s)",
        f"{month}-03",
        json.dumps({"odd": ODD.replace("\\N", "")}),
    )
    before, parts_before = office.all("select to_jsonb(l)::text from audit_log as l"), partitions(office)
    assert [(one.table, one.rows) for one in archived(office, month) if one.rows] == [("audit_log", 1)]
    assert office.one("select count(*) from audit_log") == 0
    restored(office, month)
    assert office.all("select to_jsonb(l)::text from audit_log as l") == before
    assert partitions(office) == parts_before
    for statement in ("update audit_log_2024_02 set action = 'x'", "delete from audit_log"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            office.change(statement)
    office.change("insert into audit_log (created_at, action) values (%s, 'login')", f"{month}-04")


def test_an_unfinished_import_is_named_first(office: Installation, month: str) -> None:
    office.all("update imports.runs set status = 'running'")
    with pytest.raises(TargetError, match="import 1 is unfinished"):
        archived(office, month)


def test_the_commands_list_archive_and_restore(office: Installation, month: str) -> None:
    folder = folder_of(office)
    listed = json.loads(office.said_of("partitions", "list", "--json"))
    assert {(one["month"], one["table"]) for one in listed} >= {(month, "transcriptions")}
    assert month in office.said_of("partitions", "archive", "--keep", "1", "--dry-run")
    assert json.loads(office.said_of("partitions", "archive", "--keep", "1", "--dry-run", "--json"))["archived"] == []
    assert "No month is old enough" in office.said_of("partitions", "archive", "--keep", "1200")
    office.said_of("partitions", "archive", code=2)
    office.said_of("partitions", "archive", month, "--keep", "3", code=2)
    done = json.loads(office.said_of("partitions", "archive", month, "--into", folder, "--yes", "--json"))
    assert done["ok"]
    assert {Path(one["file"]).parent for one in done["archived"]} == {folder / month}
    assert str(folder / month) in office.said_of("partitions", "list")
    assert f"rows of transcriptions restored, {folder / month}" in office.said_of("partitions", "restore", month)
    assert "is in this database" in office.said_of("partitions", "restore", month, code=1)


def test_months_older_than_those_to_keep_go_together(office: Installation) -> None:
    months = sorted({one.month for one in archives.all_months(office.settings) if one.month < this_month()})
    assert months == archives.months_to_archive(archives.all_months(office.settings), 0)
    assert archives.months_to_archive(archives.all_months(office.settings), 1200) == []
    before = everything(office)
    done = archives.archive_months(office.settings, months, folder_of(office), silent)
    assert sorted({one.month for one in done}) == months
    for month in months:
        restored(office, month)
    assert everything(office) == before


def backup(databases: Databases, office: Installation) -> None:
    """Record what every table holds, as a backup does on hosts."""
    with closing(psycopg2.connect(databases.server.superuser_conninfo(office.settings.database))) as connection:
        if ledger.SQL.one(connection, "owner") is None:
            ledger.SQL.run(connection, "make")
            ledger.SQL.run(connection, "grant", None, role="callytics_owner")
        moment = ledger.record(connection, "after", "20260101-000000F")
        ledger.settle(connection)
        held = json.dumps(ledger.fingerprints(connection, quiet))
        ledger.SQL.run(connection, "complete", {"id": moment.id, "tables": held, "faults": "[]"})
        connection.commit()


def test_a_policy_drops_what_the_newest_backup_holds_and_nothing_else(
    office: Installation, databases: Databases, month: str
) -> None:
    command = ("partitions", "archive", month, "--backed-up", "--into", folder_of(office), "--yes")
    before = everything(office)
    assert "no backup holds any month" in office.said_of(*command, code=1)
    backup(databases, office)
    # A row of that month that came after the backup is in none.
    office.all("update utterances set confidence = 0.125 where to_char(created_at, 'YYYY-MM') = %s", month)
    office.all("update transcriptions set text_content = 'since' where to_char(created_at, 'YYYY-MM') = %s", month)
    changed = everything(office)
    assert changed != before
    assert f"{month} of transcriptions has changed since backup" in office.said_of(*command, code=1)
    assert everything(office) == changed
    assert not list(folder_of(office).iterdir())
    backup(databases, office)
    office.said_of(*command)
    assert everything(office) != changed
    restored(office, month)
    assert everything(office) == changed


def test_a_backup_that_recorded_no_tables_holds_no_month(
    office: Installation, databases: Databases, month: str
) -> None:
    backup(databases, office)
    with closing(psycopg2.connect(databases.server.superuser_conninfo(office.settings.database))) as connection:
        ledger.record(connection, "after", "20260102-000000F", "writers held tables for five minutes: no checksums")
    said = office.said_of("partitions", "archive", month, "--backed-up", "--into", folder_of(office), "--yes", code=1)
    assert "has no record of what the tables held" in said


def test_only_the_owner_may(office: Installation, month: str) -> None:
    before = everything(office)
    result = office.run("partitions", "archive", month, "--into", folder_of(office), "--yes", owner=False)
    assert result.exit_code == 1
    assert "does not own the tables" in result.output
    assert everything(office) == before
