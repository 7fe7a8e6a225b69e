"""What PostgreSQL, SQLite or our records can't hold is said before an import begins, and stops no other file."""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from callytics.importer import limits, preparation
from callytics.importer.costs import Costs
from callytics.importer.source import memory
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.endings import error_of, findings
from tests.support.installation import Installation
from tests.support.samples import write_sample
from tests.support.servers import VOLATILE, migrated, private_server, superuser

pytestmark = pytest.mark.slow

TOPIC = "create table Topic (ID integer primary key, Name text); insert into Topic values (2, '요금');"


def limits_of(installation: Installation, file: Path) -> dict[str, dict[str, Any]]:
    """Return what inspect says of the limits of a file, by their names, as JSON."""
    (profile,) = json.loads(installation.said("inspect", file, "--json", "--quiet"))
    return {one["limit"]: one for one in profile["limits"]}


@pytest.fixture
def words() -> Iterator[str]:
    """Syllables that nothing compresses."""
    seeded = random.Random(7)
    return iter(lambda: chr(seeded.randrange(0xAC00, 0xD7A4)), "")


def said_of(installation: Installation, file: Path, limit: str) -> str:
    """Return the line of a limit that inspect prints, which JSON has too."""
    line = str(limits_of(installation, file)[limit]["line"])
    assert line in installation.said("inspect", file, "--quiet")
    return line


def test_a_table_s_name_that_records_do_not_hold_is_refused_first(
    installation: Installation, words: Iterator[str]
) -> None:
    name = "".join(next(words) for _ in range(3000))
    file = installation.write(f'{TOPIC} create table "{name}" (a); insert into "{name}" values (1);')
    line = said_of(installation, file, "table name")
    assert "has a name of 9,000 bytes, and records hold 2,000: give it a shorter one with ALTER TABLE" in line
    for arguments in (("import", file, "--yes"), ("import", file, "--dry-run")):
        assert error_of(installation.run(*arguments, "--snapshots", installation.options.snapshots)).endswith(line)
    assert installation.one("select count(*) from imports.runs") == 0
    installation.take(TOPIC)
    installation.write(f'alter table "{name}" rename to short', file.name)
    installation.options = installation.options.__class__(installation.options.snapshots, again=True)
    installation.take(file)
    assert installation.unmapped() == [{"a": 1}]


def test_a_new_table_with_such_a_name_is_refused_by_a_sync_too(installation: Installation) -> None:
    installation.write(TOPIC)
    installation.import_()
    installation.write(f'create table "{"긴" * 800}" (a); insert into "{"긴" * 800}" values (1);')
    assert "ALTER TABLE … RENAME TO" in error_of(installation.run("sync", installation.file, *snapshots(installation)))
    installation.write(f"drop table \"{'긴' * 800}\"; insert into Topic values (3, '배송')")
    assert installation.sync().exit_code == 0


def snapshots(installation: Installation) -> tuple[str, str]:
    return "--snapshots", str(installation.options.snapshots)


def test_names_longer_than_postgresql_s_stay_whole_and_apart(installation: Installation) -> None:
    """Cut at 63 bytes, two tables and two columns would have one name."""
    long, longer = "통화" * 12 + "가", "통화" * 12 + "나"
    file = installation.write(
        f'{TOPIC} create table "{long}" ("{long}", "{longer}"); insert into "{long}" values (1, 2);'
        f'create table "{longer}" ("{long}"); insert into "{longer}" values (3);'
    )
    assert "up to 75 bytes, and PostgreSQL cuts its own at 63" in said_of(installation, file, "identifier")
    installation.take(file)
    assert sorted(map(str, installation.unmapped())) == sorted(map(str, [{long: 1, longer: 2}, {long: 3}]))


def test_more_columns_than_a_table_of_postgresql_has(installation: Installation) -> None:
    columns = ", ".join(f"c{number}" for number in range(1700))
    file = installation.write(f"{TOPIC} create table wide ({columns}); insert into wide (c0, c1699) values (1, 2);")
    assert "wide has 1,700 columns, and a table of PostgreSQL no more than 1,600" in said_of(
        installation, file, "columns"
    )
    installation.take(file)
    (row,) = installation.unmapped()
    assert (len(row), row["c1699"]) == (1700, 2)


@pytest.mark.parametrize("name", ["json_each", "pragma_table_info", "count", "JSON_TREE", "fts5vocab"])
def test_a_table_that_is_called_like_a_function_is_read_as_the_table(name: str, installation: Installation) -> None:
    file = installation.write(f'{TOPIC} create table "{name}" (value); insert into "{name}" values (7);')
    assert f"{name} is called like a function or module of SQLite" in said_of(installation, file, "function name")
    installation.take(file)
    assert installation.unmapped() == [{"value": 7}]


def test_a_table_that_is_called_like_ours_but_is_another(installation: Installation) -> None:
    file = installation.write(
        f"{TOPIC} create table audio_files (filename text, size integer); insert into audio_files values ('a', 1);"
    )
    line = said_of(installation, file, "shape")
    assert "audio_files is called like a table of Callytics, but lacks" in line
    installation.take(file)
    assert installation.unmapped() == [{"filename": "a", "size": 1}]
    assert installation.one("select count(*) from audio_files") == 0


def test_rows_that_are_larger_than_a_record(installation: Installation) -> None:
    """The real limit: hundreds of megabytes, of which a record has the checksum."""
    file = installation.write(f"{TOPIC} create table recordings (id integer primary key, wav blob);")
    installation.write("insert into recordings values (1, zeroblob(140000000)), (2, zeroblob(9))")
    line = said_of(installation, file, "record")
    assert "recordings has 1 row larger than a record holds" in line
    installation.take(file)
    kept = installation.all("select source_row #>> '{wav,bytes}' from imports.unmapped order by source_rowid")
    assert kept == [("140000000",), (None,)]


def test_a_unique_text_that_no_index_holds(installation: Installation, words: Iterator[str]) -> None:
    """What PostgreSQL can compress is taken, whatever its length; the rest is rejected, and nothing else with it."""
    code = "".join(next(words) for _ in range(3000))
    file = installation.write(
        "create table business_type_codes (id integer primary key, code text, name text, description text, "
        "is_active boolean, created_at datetime);"
    )
    with closing(sqlite3.connect(file)) as sqlite, sqlite:
        rows = [(1, code, "one"), (2, "a" * 9000, "two"), (3, "B3", "three")]
        sqlite.executemany("insert into business_type_codes (id, code, name) values (?, ?, ?)", rows)
    line = said_of(installation, file, "unique text")
    assert "business_type_codes.code is unique and has 2 values of more than 2,704 bytes" in line
    installation.take(file, code=3)
    assert installation.all("select id from business_type_codes order by 1") == [(2,), (3,)]
    assert installation.rejected() == [("business_type_codes", 1, None)]


def test_a_text_that_is_longer_than_search_reads(installation: Installation) -> None:
    file = installation.write(
        "create table utterances (id integer primary key, audio_properties_id integer, speaker text, start_time real, "
        "end_time real, text text);"
    )
    with closing(sqlite3.connect(file)) as sqlite, sqlite:
        rows = [(1, "처음 " + "말 " * 60_000 + "마지막"), (2, "짧은 말")]
        sqlite.executemany("insert into utterances (id, text) values (?, ?)", rows)
    assert "utterances.text has 1 text of more than 100,000 characters" in said_of(installation, file, "search")
    installation.take(file)
    assert installation.problems() == []
    found = "select id from utterances where to_tsvector('simple', left(text, 100000)) @@ to_tsquery('simple', '{}')"
    assert installation.all(found.format("처음")) == [(1,)]
    assert installation.all(found.format("마지막")) == []


def test_ids_that_leave_none_for_the_application(installation: Installation) -> None:
    file = installation.write(
        "create table Topic (ID integer primary key, Name text); insert into Topic values (9223372036854775800, '요금')"
    )
    line = said_of(installation, file, "ids")
    assert line.startswith("7 ids left above those of Topic: give its rows lower ids")
    installation.take(file)
    assert installation.change("insert into topics (name) values ('배송') returning id") == 2**63 - 7


def test_a_file_without_limits_is_told_of_none(installation: Installation) -> None:
    file = write_sample_of_generation_2(installation)
    assert limits_of(installation, file) == {}


def write_sample_of_generation_2(installation: Installation) -> Path:
    write_sample(installation.file, generation=2, calls=2, seed=1)
    return installation.file


def test_little_room_on_the_server_s_disk_is_said_where_it_can_be_asked(
    installation: Installation, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "costs_of", lambda *_: Costs(0, 0, 10**18))
    file = installation.write(TOPIC)
    assert not any("free in" in note for note in installation.take(file).notes)
    superuser(server, "grant pg_read_all_settings to callytics_owner")
    try:
        notes = installation.take(installation.write(TOPIC.replace("요금", "배송"), "other.sqlite")).notes
    finally:
        superuser(server, "revoke pg_read_all_settings from callytics_owner")
    assert any(f"are free in {server.data}: free some" in note for note in notes)


@pytest.fixture(scope="module")
def few_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A database on a server with a table of a few hundred locks."""
    options = {**VOLATILE, "max_locks_per_transaction": "10", "max_connections": "40"}
    with private_server(tmp_path_factory.mktemp("few") / "server", options) as server:
        yield migrated(server, "callytics")


def test_more_months_than_the_server_has_locks_for(few_locks: Settings, tmp_path: Path) -> None:
    """The latest get partitions; the rows of the others are in the default partition, and nothing is lost."""
    with Installation.on(few_locks, tmp_path) as installation:
        installation.write(
            "create table utterances (id integer primary key, audio_properties_id integer, speaker text, "
            "start_time real, end_time real, text text, created_at datetime);"
            "with recursive months (n) as (select 1 union all select n + 1 from months where n < 120) "
            "insert into utterances (id, text, created_at) "
            "select n, 'month', date('2015-01-15', '+' || (n - 1) || ' months') from months"
        )
        (note,) = installation.import_().notes
        assert note.startswith("utterances: rows of 2015-01 to ")
        assert "raise max_locks_per_transaction" in note
        left = installation.one("select count(*) from utterances_default")
        assert 0 < left < 120
        assert installation.one("select to_regclass('utterances_2024_12')::text") == "utterances_2024_12"
        assert installation.problems() == []
        (found,) = (one for one in findings(installation.run("doctor"))["partitions"] if "holds rows of months" in one)
        assert "ensure_month_partitions('utterances', '2015-01-15'" in found
        installation.write("insert into utterances (id, text, created_at) values (121, 'new', '2014-06-01')")
        assert installation.sync().exit_code == 0
        assert installation.verify().exit_code == 0
        assert installation.undo().exit_code == 0
        assert installation.import_().exit_code == 0


def test_each_limit_is_one_line_with_what_to_do() -> None:
    for name, limit in limits.LIMITS.items():
        said = limit.line("t", 1)
        assert "\n" not in said, name
        assert not re.search(r"\b1 (rows|values|texts|ids)\b", said), name
        assert limit.remedy[0].islower(), name


@pytest.mark.parametrize("table", ["audio_files", "notes"])
def test_a_row_that_the_memory_has_no_room_for(
    table: str, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is written, by a sync too, and the next command of anybody works."""
    free = tmp_path / "meminfo"
    monkeypatch.setattr(memory, "MEMORY", free)
    file = installation.write(
        "create table audio_files (id integer primary key, file_path text, file_name text, error_message text, "
        "processing_status text);"
        "create table notes (id integer primary key, file_path text, file_name text, error_message text);"
    )

    def speak(number: int, size: int) -> None:
        with closing(sqlite3.connect(file)) as sqlite, sqlite:
            row = (number, f"/{number}", "f", "말" * (size // 3))
            sqlite.execute(f"insert into {table} (id, file_path, file_name, error_message) values (?, ?, ?, ?)", row)

    installation.files[:] = [file]
    speak(1, 6_000_000)
    free.write_text("MemFree:  1 kB\nMemAvailable:    65000 kB\n")
    words = f"{table} has a row of 6.0 MB, and the memory that is free here is enough for one of 5.1 MB: run"
    assert words in said_of(installation, file, "memory")
    assert words in installation.said("import", file, code=1)
    assert installation.all("select from imports.runs") == []
    installation.take("create table Topic (ID integer primary key, Name text); insert into Topic values (2, 'x');")
    free.write_text("MemAvailable:    90000 kB\n")
    assert installation.import_().exit_code == 0
    speak(2, 9_000_000)
    assert f"{table} has a row of 9.0 MB" in installation.said("sync", file, code=1)
    free.write_text("MemAvailable:    900000 kB\n")
    assert installation.sync().exit_code == 0
    assert installation.undo(2).exit_code == 0


def test_free_memory_is_what_every_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("MEMORY", "MemAvailable:  5000 kB\n"), ("GROUP", "max\n"), ("OWN", "0 0 0\n")):
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(memory, name, tmp_path / name)
    assert memory.free_bytes() == 5000 * 1024
    (tmp_path / "GROUP").write_text("4096\n")
    assert memory.free_bytes() == 4096
    (tmp_path / "GROUP").unlink()
    (tmp_path / "MEMORY").unlink()
    assert memory.free_bytes() is None
