"""Times without an offset: UTC where SQLite wrote them, local where the application did, and put right afterwards."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from callytics.exceptions import SourceError, TargetError
from callytics.importer import Choice, Wanted, change_timezone, import_files, inspect_file, zone_named
from callytics.settings import Settings
from tests.support.independent import problems
from tests.support.installation import Installation, quiet
from tests.support.samples import write_sample

pytestmark = pytest.mark.slow

SEOUL = zone_named("Asia/Seoul")
# One call at midnight in Seoul, by SQLite's clock and by the application's; the last row is of the month before in UTC.
CALLS = """
create table audio_files (
    id integer primary key, file_path, file_name, processing_status, processing_completed_at datetime,
    created_at datetime default current_timestamp
);
create table transcriptions (
    id integer primary key, audio_file_id, speaker_segment_id, text_content, start_time, end_time,
    created_at datetime default (datetime('now'))
);
create table processing_logs (
    id integer primary key, audio_file_id, processing_step, status, start_time datetime, end_time datetime,
    created_at datetime
);
insert into audio_files values (1, 'a', 'a', 'completed', '2024-05-01 00:10:00', '2024-04-30 15:00:00');
insert into transcriptions values
    (1, 1, null, 'by SQLite', 0, 1, '2024-04-30 15:00:00'),
    (2, 1, null, 'by Python', 0, 1, '2024-05-01T00:00:00.250000'),
    (3, 1, null, 'by Python, too', 0, 1, '2024-05-01 00:00:00.250000'),
    (4, 1, null, 'with an offset', 0, 1, '2024-05-01 00:00:00+09:00'),
    (5, 1, null, 'on a whole second', 0, 1, '2024-05-01T00:00:00'),
    (6, 1, null, 'without a time', 0, 1, null);
insert into processing_logs values (1, 1, 'done', 'completed', '2024-05-01 00:00:00', null, '2024-05-01 00:00:00');
"""
FIRST, BY_PYTHON = datetime(2024, 4, 30, 15, tzinfo=UTC), datetime(2024, 4, 30, 15, 0, 0, 250000, tzinfo=UTC)


@pytest.fixture
def installation(database: Settings, tmp_path: Path) -> Iterator[Installation]:
    with Installation.on(database, tmp_path, "audio_analysis.sqlite") as own:
        with own.connection.cursor() as cursor:
            cursor.execute("set timezone = 'UTC'")
        yield own


def times(installation: Installation, table: str = "transcriptions", column: str = "created_at") -> list[Any]:
    with installation.connection.cursor() as cursor:
        cursor.execute(f"select {column} from {table} order by id")
        return [moment for (moment,) in cursor.fetchall()]


def months(installation: Installation) -> list[str]:
    with installation.connection.cursor() as cursor:
        cursor.execute("select tableoid::regclass::text from transcriptions order by id")
        return [name for (name,) in cursor.fetchall()]


def as_of(installation: Installation, zone: str = "UTC", **options: Any) -> Installation:
    return replace(installation, options=replace(installation.options, zone=zone_named(zone), **options))


def everything(installation: Installation) -> dict[str, list[Any]]:
    """Return all rows of the tables that hold the calls, without where they are."""
    found = {}
    with installation.connection.cursor() as cursor:
        for table in ("audio_files", "transcriptions", "processing_logs", "agent_accounts", "llm_analysis"):
            cursor.execute(f"select * from {table} order by id")
            found[table] = cursor.fetchall()
    return found


@pytest.mark.quick
def test_what_sqlite_wrote_is_utc_and_what_python_wrote_is_local(installation: Installation) -> None:
    installation.write(CALLS)
    seoul = as_of(installation, "Asia/Seoul")
    outcome = seoul.take(installation.file)
    assert times(installation) == [FIRST, BY_PYTHON, BY_PYTHON, FIRST, FIRST, None]
    assert times(installation, "audio_files") == [FIRST]
    assert times(installation, "audio_files", "processing_completed_at") == [datetime(2024, 4, 30, 15, 10, tzinfo=UTC)]
    assert times(installation, "processing_logs") == times(installation, "processing_logs", "start_time") == [FIRST]
    assert [(one.timezone, one.columns) for one in outcome.zones] == [
        (
            "Asia/Seoul",
            {
                "local": [
                    "audio_files.processing_completed_at",
                    "processing_logs.created_at",
                    "processing_logs.end_time",
                    "processing_logs.start_time",
                ],
                "sqlite": ["audio_files.created_at", "transcriptions.created_at"],
            },
        )
    ]
    said = installation.said("verify", installation.file)
    assert (
        "Times without an offset were read as UTC where they are as SQLite writes them, otherwise Asia/Seoul: "
        "audio_files.created_at, transcriptions.created_at\n"
    ) in said
    assert "Times without an offset were read as Asia/Seoul: processing_completed_at" not in said
    assert (
        "Times without an offset were read as Asia/Seoul: audio_files.processing_completed_at, processing_logs" in said
    )


def test_columns_can_be_named(installation: Installation) -> None:
    """--utc and --local win over what a table declares; what a name fits is said where it fits nothing, or both."""
    file = installation.write(CALLS)
    options = ("--utc", "PROCESSING_LOGS.*", "--local", "transcriptions.created_at", "--timezone", "Asia/Seoul")
    for wrong, why in (
        (("--utc", "transcriptions.createdat"), "transcriptions.createdat is no column of times in the files"),
        (
            ("--utc", "*.created_at", "--local", "*_files.*"),
            "audio_files.created_at is named with --utc and with --local",
        ),
    ):
        for command in (("import",), ("import", "--dry-run"), ("inspect",)):
            assert why in installation.said(*command, *wrong, file, code=1)
    assert installation.one("select count(*) from imports.runs") == 0
    installation.said("import", *options, file)
    local = datetime(2024, 4, 30, 6, tzinfo=UTC)
    assert times(installation)[:2] == [local, BY_PYTHON]
    assert times(installation, "processing_logs") == [datetime(2024, 5, 1, tzinfo=UTC)]
    assert installation.verify().exit_code == 0
    # What an import did not do is not said to be done.
    again = installation.said("import", "--timezone", "Asia/Seoul", "--utc", "transcriptions.created_at", file, code=1)
    assert "'callytics timezone 1 --utc transcriptions.created_at' reads its times anew" in again
    assert "already imported" in installation.said("import", *options, file)


@pytest.mark.parametrize("generation", [2, 3])
def test_a_changed_zone_gives_what_an_import_in_it_gives(
    generation: int, installation: Installation, tmp_path: Path
) -> None:
    """UTC changed to Seoul and back: each time every value is what it would have been, and all commands agree."""
    files = [tmp_path / "sample.sqlite"] if generation == 2 else [tmp_path / "sample"]
    write_sample(files[0], generation=generation, calls=8, seed=5)
    files = sorted(files[0].iterdir()) if generation == 3 else files
    installation.take(*files)
    before = everything(installation)
    for zone in ("Asia/Seoul", "America/New_York", "UTC"):
        said = installation.run("timezone", "1", "--timezone", zone)
        assert said.exit_code in (0, 3), said.output
        if zone != "America/New_York":
            assert [problem for file in files for problem in problems(file, installation.connection, zone)] == []
        assert as_of(installation, zone).verify_of(files).exit_code == said.exit_code
        assert as_of(installation, zone).sync(files).changed == 0
    assert everything(installation) == before
    assert installation.one("select array_agg(timezone order by id) from imports.zone_changes") == [
        "Asia/Seoul",
        "America/New_York",
        "UTC",
    ]
    assert installation.undo().exit_code == 0
    assert installation.one("select count(*) from audio_files") == 0


def test_rows_go_to_the_months_that_they_belong_to(installation: Installation) -> None:
    """The months are made, the rows are in them, and none is anywhere else."""
    as_of(installation, "Asia/Seoul").take(installation.write(CALLS))
    assert months(installation) == ["transcriptions_2024_04"] * 5 + ["transcriptions_default"]
    installation.said_of("timezone", 1, "--timezone", "UTC")
    assert months(installation) == [
        "transcriptions_2024_04",
        "transcriptions_2024_05",
        "transcriptions_2024_05",
        "transcriptions_2024_04",
        "transcriptions_2024_05",
        "transcriptions_default",
    ]
    assert installation.one("select count(*) from transcriptions") == 6
    assert installation.verify().exit_code == 0


def test_a_dry_run_changes_nothing(installation: Installation) -> None:
    installation.take(installation.write(CALLS))
    before = everything(installation)
    said = installation.said_of("timezone", 1, "--timezone", "Asia/Seoul", "--dry-run")
    # Three transcriptions of Python's, the recording and the log.
    assert said.endswith("5 rows would change.\n")
    assert everything(installation) == before
    assert installation.one("select timezone from imports.runs") == "UTC"
    assert installation.one("select count(*) from imports.zone_changes") == 0


def test_rows_that_were_changed_in_postgresql_are_named(installation: Installation) -> None:
    """Nothing is written then; a row that would not change is no reason, and a choice is a way on."""
    installation.take(installation.write(CALLS))
    installation.change("update transcriptions set text_content = 'mended' where id in (1, 2)")
    before = everything(installation)
    said = installation.said_of("timezone", 1, "--timezone", "Asia/Seoul", code=4)
    assert "CLASH transcriptions, row 2 (text_content): was changed in PostgreSQL and in SQLite" in said
    assert "row 1 " not in said
    assert "--ours keeps" in said
    assert everything(installation) == before
    installation.said_of("timezone", 1, "--timezone", "Asia/Seoul", "--ours")
    assert times(installation)[1:3] == [datetime(2024, 5, 1, 0, 0, 0, 250000, tzinfo=UTC), BY_PYTHON]
    installation.said_of("timezone", 1, "--timezone", "UTC", "--ours")
    installation.said_of("timezone", 1, "--timezone", "Asia/Seoul", "--theirs")
    assert times(installation)[1:3] == [BY_PYTHON, BY_PYTHON]
    assert installation.one("select text_content from transcriptions where id = 1") == "mended"


def test_single_columns_are_changed_and_recorded(installation: Installation) -> None:
    file = as_of(installation, "Asia/Seoul").write(CALLS)
    as_of(installation, "Asia/Seoul").take(file)
    said = installation.said_of("timezone", 1, "--local", "*.created_at", "--json")
    assert json.loads(said)["zones"][0]["columns"]["local"] == [
        "audio_files.created_at",
        "audio_files.processing_completed_at",
        "processing_logs.created_at",
        "processing_logs.end_time",
        "processing_logs.start_time",
        "transcriptions.created_at",
    ]
    assert times(installation)[0] == datetime(2024, 4, 30, 6, tzinfo=UTC)
    assert installation.one("select readings from imports.zone_changes") == {
        "audio_files.created_at": ["sqlite", "local"],
        "transcriptions.created_at": ["sqlite", "local"],
    }
    assert installation.verify().exit_code == 0
    installation.said_of("timezone", 1, "--declared")
    assert times(installation)[0] == FIRST
    assert "no column of times" in installation.said_of("timezone", 1, "--utc", "topics.name", code=1)
    assert "name what to change" in installation.said_of("timezone", 1, code=2)


def test_what_was_imported_with_one_zone_for_all_stays_so(installation: Installation) -> None:
    """An import of a version before reads as it did, also what is new in its file, until somebody changes it."""
    file = installation.write(CALLS)
    as_of(installation, "Asia/Seoul", local=("*.*",)).take(file)
    installation.one("update imports.tables set readings = null returning 1")
    old = [datetime(2024, 4, 30, 6, tzinfo=UTC), BY_PYTHON]
    seoul = as_of(installation, "Asia/Seoul")
    assert times(installation)[:2] == old
    said = installation.said("verify", file)
    assert "Times without an offset were read as Asia/Seoul, also those that SQLite wrote in UTC" in said
    assert "already imported" in seoul.said("import", "--timezone", "Asia/Seoul", file)
    installation.write(
        "insert into transcriptions values (7, 1, null, 'new', 0, 1, '2024-04-30 15:00:00');"
        "create table audio_metrics (id integer primary key, audio_file_id, metric_type, created_at default "
        "current_timestamp); insert into audio_metrics values (1, 1, 'x', '2024-04-30 15:00:00')"
    )
    assert seoul.sync().exit_code == 0
    assert times(installation)[-1] == old[0]
    assert seoul.verify().exit_code == 0
    installation.said_of("timezone", 1, "--declared")
    assert times(installation)[:2] == [FIRST, BY_PYTHON]
    assert times(installation)[-1] == FIRST
    assert "SQLite writes them, otherwise Asia/Seoul" in installation.said("verify", file)


def test_a_sync_reads_new_rows_and_columns_as_the_import_did(installation: Installation) -> None:
    seoul = as_of(installation, "Asia/Seoul", local=("transcriptions.created_at",))
    seoul.take(installation.write(CALLS))
    installation.write(
        "insert into transcriptions values (7, 1, null, 'new', 0, 1, '2024-04-30 15:00:00');"
        "alter table audio_files add column updated_at datetime default null;"
        "update audio_files set updated_at = '2024-05-01 09:00:00'"
    )
    assert installation.sync().exit_code == 0
    assert times(installation)[-1] == datetime(2024, 4, 30, 6, tzinfo=UTC)
    assert times(installation, "audio_files", "updated_at") == [datetime(2024, 5, 1, tzinfo=UTC)]
    assert installation.verify().exit_code == 0


def test_times_that_a_zone_does_not_have_are_rejected_and_come_back(installation: Installation) -> None:
    """02:30 on the night of the clock change is in imports.rejected as long as the zone is New York's."""
    installation.take(installation.write(CALLS + "update processing_logs set start_time = '2024-03-10 02:30:00'"))
    assert "1 row rejected" in installation.said_of("timezone", 1, "--timezone", "America/New_York", code=3)
    assert installation.one("select count(*) from processing_logs") == 0
    assert installation.one("select source_column from imports.rejected") == "start_time"
    installation.said_of("timezone", 1, "--timezone", "UTC")
    assert times(installation, "processing_logs", "start_time") == [datetime(2024, 3, 10, 2, 30, tzinfo=UTC)]
    assert installation.one("select count(*) from imports.rejected") == 0
    assert installation.verify().exit_code == 0


def test_an_import_that_is_not_there_or_not_finished(installation: Installation, tmp_path: Path) -> None:
    file = installation.write(CALLS)
    with pytest.raises(TargetError, match="there is no import 1: 'callytics report' names"):
        change_timezone(installation.settings, 1, Wanted(SEOUL), installation.options, quiet)
    installation.take(file)
    installation.one("update imports.runs set status = 'running' returning 1")
    assert "import 1 is unfinished and" in installation.said_of("timezone", 1, "--declared", code=1)
    with pytest.raises(SourceError, match="was begun with --timezone UTC and can't go on with --timezone Asia/Seoul"):
        import_files(installation.settings, [file], as_of(installation, "Asia/Seoul").options, quiet)
    installation.one("update imports.runs set status = 'verified' returning 1")
    installation.undo()
    assert "import 1 was undone: import its files again" in installation.said_of("timezone", 1, "--declared", code=1)
    as_of(installation).take(file)
    for snapshot in installation.options.snapshots.glob("*.sqlite"):
        shutil.move(snapshot, tmp_path)
    assert "the snapshot" in installation.said_of("timezone", 2, "--declared", code=1)


def test_another_zone_is_refused_with_the_command_that_changes_it(installation: Installation) -> None:
    file = installation.write(CALLS)
    installation.take(file)
    said = installation.said("import", "--timezone", "Asia/Seoul", file, code=1)
    assert "'callytics timezone 1 --timezone Asia/Seoul' reads its times anew, if they are wrong" in said
    installation.said_of("timezone", 1, "--timezone", "Asia/Seoul")
    assert "already imported" in installation.said("import", "--timezone", "Asia/Seoul", file)
    assert times(installation)[:2] == [FIRST, BY_PYTHON]


def test_a_cancelled_change_has_not_happened(installation: Installation) -> None:
    """What ends it before its transaction does leaves everything as it was, and the same call does it."""
    installation.take(installation.write(CALLS))
    before = everything(installation)

    def stop(what: str, done: int, total: int) -> None:
        if what == "apply":
            raise KeyboardInterrupt

    with pytest.raises(BaseException, match="interrupted"):
        change_timezone(installation.settings, 1, Wanted(SEOUL), installation.options, stop)
    assert everything(installation) == before
    assert installation.verify().exit_code == 0
    change = change_timezone(installation.settings, 1, Wanted(SEOUL), installation.options, quiet)
    assert (change.exit_code, change.changed) == (0, 5)


def test_inspect_shows_how_times_are_read(installation: Installation) -> None:
    """An example of each column, its zone, and the other reading; rows that disagree by hours are told."""
    file = installation.write(CALLS)
    seoul = inspect_file(file, as_of(installation, "Asia/Seoul").options, quiet)
    found = {
        (one.name, one.zone): (one.rows, one.example, one.instant, one.other_zone, one.other) for one in seoul.times
    }
    assert found["transcriptions.created_at", "UTC"] == (
        1,
        "2024-04-30 15:00:00",
        FIRST,
        "Asia/Seoul",
        datetime(2024, 4, 30, 6, tzinfo=UTC),
    )
    assert found["transcriptions.created_at", "Asia/Seoul"][:3] == (3, "2024-05-01T00:00:00.250000", BY_PYTHON)
    assert found["processing_logs.end_time", "Asia/Seoul"] == (0, None, None, None, None)
    assert seoul.disagreements == []
    for how in ((), ("--utc", "*.created_at")):
        assert "if America/New_York" in installation.said("inspect", "--timezone", "America/New_York", *how, file)
    utc = inspect_file(file, installation.options, quiet)
    assert [(one.column, one.than, one.rows, one.compared, one.hours) for one in utc.disagreements] == [
        ("processing_logs.created_at", "audio_files.created_at", 1, 1, 9.0),
        ("transcriptions.created_at", "audio_files.created_at", 3, 5, 9.0),
    ]
    said = installation.said("inspect", file)
    assert "WARNING transcriptions.created_at is 9 h after audio_files.created_at in 3 of 5 rows compared" in said
    assert said.count("one of them is read in the wrong zone") == 1
    assert re.search(r"transcriptions\.created_at +2024-04-30 15:00:00 +04-30 15:00 +04-30 06:00\n", said)
    assert re.search(r"transcriptions\.created_at +2024-05-01T00:00:00 +05-01 00:00 +04-30 15:00\n", said)


def test_the_report_names_both_zones(installation: Installation) -> None:
    as_of(installation, "Asia/Seoul").take(installation.write(CALLS))
    installation.said_of("timezone", 1, "--utc", "processing_logs.created_at")
    said = installation.said_of("report")
    assert "read as UTC where they are as SQLite writes them, otherwise as Asia/Seoul: audio" in said
    assert "Timestamps without an offset were read as UTC: processing_logs.created_at" in said.replace("\\", "")
    assert "Asia/Seoul to Asia/Seoul, 1 row written" in said
    assert "SQLite가 기록한 형식은 UTC, 그 밖의 형식은 Asia/Seoul" in installation.said_of("report", "--lang", "ko")


def test_a_choice_of_nothing_changes_nothing(installation: Installation) -> None:
    installation.take(installation.write(CALLS))
    change = change_timezone(
        installation.settings, 1, Wanted(columns=Choice(local=("*.*",))), installation.options, quiet
    )
    assert (change.exit_code, change.changed) == (0, 0)
