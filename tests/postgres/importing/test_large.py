"""Limits of both sides: what jsonb can't hold, what a result of SQLite can't hold, and names that mean functions."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from callytics.importer.convert import rows
from callytics.importer.convert.values import Text
from callytics.settings import Settings
from tests.support.installation import Installation

pytestmark = pytest.mark.slow

RECORDING = b"RIFF" + bytes(range(256)) * 20


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a record hold a thousandth of a thousandth of what it can."""
    monkeypatch.setattr(rows, "LARGEST_RECORD_BYTES", 1000)
    monkeypatch.setattr(rows, "LARGE_VALUE_BYTES", 100)


@pytest.mark.quick
def test_a_value_too_large_for_a_record_stays_in_the_snapshot(
    small_records: None, database: Settings, tmp_path: Path
) -> None:
    """The row is kept and refers to it; closing counts, verify, sync and undo are those of any other row."""
    with Installation.on(database, tmp_path, unmapped=True) as office:
        office.write(
            f"""create table recordings (id integer primary key, wav blob, note text);
            insert into recordings values (1, x'52494646', 'short'), (2, x'{RECORDING.hex()}', '긴 통화');
            create table Topic (ID integer primary key, Name text);
            insert into Topic values (1, '요금'), (2, x'{RECORDING.hex()}'), (3, x'{RECORDING[:400].hex()}');"""
        )
        assert office.import_().exit_code == 3
        value = {"snapshot": "blob", "bytes": len(RECORDING), "sha256": hashlib.sha256(RECORDING).hexdigest()}
        assert office.all("select source_row from imports.unmapped order by source_rowid") == [
            ({"id": 1, "wav": {"blob": "52494646"}, "note": "short"},),
            ({"id": 2, "wav": value, "note": "긴 통화"},),
        ]
        assert office.all("select encode(raw, 'hex'), source_row from imports.rejected order by source_rowid") == [
            (None, {"ID": 2, "Name": value}),
            (RECORDING[:400].hex(), {"ID": 3, "Name": {"raw": 400}}),
        ]
        assert office.verify().exit_code == 3
        office.write(
            "update recordings set wav = zeroblob(4000) where id = 2; update Topic set Name = 'x' where ID = 2"
        )
        assert office.sync().exit_code == 3
        assert office.one("select source_row #>> '{wav,sha256}' from imports.unmapped where source_rowid = 2") == (
            hashlib.sha256(bytes(4000)).hexdigest()
        )
        assert office.verify().exit_code == 3
        office.all("update imports.unmapped set source_row = jsonb_set(source_row, '{wav,sha256}', '\"0\"')")
        assert office.verify().exit_code == 4
        assert office.undo().exit_code == 0
        assert office.import_().exit_code == 3


def test_what_a_row_leaves_to_the_snapshot_is_the_least_that_makes_it_fit(small_records: None) -> None:
    row = {"small": b"x" * 100, "large": b"y" * 400, "note": "n", "text": Text(("가" * 100).encode())}
    text = rows.encode_row(row)
    assert '"large": {"snapshot": "blob", "bytes": 400' in text
    assert '"small": {"blob": "7878' in text
    assert "가가가" in text
    assert rows.encode_row(row) == text


def test_a_recording_of_300_megabytes(database: Settings, tmp_path: Path) -> None:
    """As PostgreSQL's real limit is met, and not only the one that tests set."""
    with Installation.on(database, tmp_path, unmapped=True) as office:
        office.write("create table recordings (id integer primary key, wav blob)")
        office.write("insert into recordings values (1, zeroblob(300000000)), (2, zeroblob(120000000)), (3, x'00')")
        assert office.import_().exit_code == 0
        assert office.all("select source_row #>> '{wav,bytes}' from imports.unmapped order by source_rowid") == [
            ("300000000",),
            (None,),
            (None,),
        ]
        assert office.undo().exit_code == 0


def wide(columns: int, fixed: str = "") -> str:
    return ", ".join([*filter(None, [fixed]), *(f"c{number}" for number in range(columns))])


@pytest.mark.parametrize("columns", [999, 1999, 2000])
def test_an_unknown_table_may_have_as_many_columns_as_sqlite_allows(
    columns: int, database: Settings, tmp_path: Path
) -> None:
    with Installation.on(database, tmp_path, unmapped=True) as office:
        office.write(f"create table wide ({wide(columns)}); insert into wide (c0, c{columns - 1}) values ('가', 2)")
        assert office.import_().exit_code == 0
        assert office.all(
            f"select source_row ->> 'c0', source_row -> 'c{columns - 1}', count(*) "
            "from imports.unmapped, jsonb_object_keys(source_row) group by 1, 2"
        ) == [("가", 2, columns)]
        office.write("insert into wide (c1) values ('later')")
        assert office.sync().exit_code == 0
        assert office.undo().exit_code == 0


def test_a_known_table_may_too(database: Settings, tmp_path: Path) -> None:
    known = "ID integer primary key, FileID integer, Speaker text, Sequence integer, Content text"
    with Installation.on(database, tmp_path, unmapped=True) as office:
        office.write(
            f"create table Utterance ({wide(1995, known)}); insert into Utterance (ID, Content, c7) values (1, '네', 5)"
        )
        assert office.import_().exit_code == 0
        assert office.all("select id, text from utterances") == [(1, "네")]
        assert office.one("select source_row -> 'c7' from imports.unmapped") == 5


def test_tables_that_are_called_like_functions_of_sqlite(database: Settings, tmp_path: Path) -> None:
    """A table hides the function of its name from every statement that reads the file."""
    names = ["json_each", "json_tree", "pragma_table_xinfo", "pragma_table_info", "generate_series", "sum", "mapped"]
    with Installation.on(database, tmp_path, unmapped=True) as office:
        office.write("create table Topic (ID integer primary key, Name text); insert into Topic values (2, x'00')")
        with closing(sqlite3.connect(office.file)) as sqlite, sqlite:
            for name in names:
                sqlite.execute(f'create table "{name}" (value)')
                sqlite.execute(f'insert into "{name}" values (?)', (name,))
        assert office.import_().exit_code == 3
        assert sorted(office.all("select source_table, source_row ->> 'value' from imports.unmapped")) == sorted(
            (name, name) for name in names
        )
        assert office.verify().exit_code == 3
