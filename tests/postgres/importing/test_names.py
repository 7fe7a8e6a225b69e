"""Names of tables and columns that are any bytes, and ids of any storage class: kept exactly, or rejected with why."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from callytics.exceptions import SourceError
from callytics.importer import inspect_file
from callytics.importer.source.tables import name_text
from tests.support.installation import Installation, quiet

pytestmark = pytest.mark.slow

# What stands in a statement for bytes that none can hold.
KOREAN = {"TABLE_IN_CP949": "메모".encode("cp949"), "COLUMN_IN_CP949": "비고".encode("cp949")}
TOPICS = "create table Topic (ID integer primary key autoincrement, Name text not null unique{more});"


def write_bytes_for_names(path: Path, script: str, names: dict[str, bytes]) -> Path:
    """Write a file as an application does that takes another encoding for UTF-8: each word becomes these bytes."""
    with closing(sqlite3.connect(path)) as sqlite:
        sqlite.executescript(script)
        sqlite.execute("pragma writable_schema = on")
        for word, raw in names.items():
            for column in ("sql", "name", "tbl_name"):
                sqlite.execute(
                    f"update sqlite_master set {column} = cast(replace(cast({column} as blob), ?, ?) as text)",
                    (word.encode(), raw),
                )
        sqlite.commit()
    return path


def kept(installation: Installation) -> list[tuple[str, dict[str, object]]]:
    """Return (table, row) of what imports.unmapped holds."""
    return [
        (table, row)
        for table, row in installation.all(
            "select source_table, source_row from imports.unmapped order by source_table, source_rowid"
        )
    ]


def test_names_in_cp949_are_kept_as_their_bytes(installation: Installation) -> None:
    script = TOPICS.format(more=', "COLUMN_IN_CP949" text, "b" text') + (
        "insert into Topic values (1, '요금', '하나', 'b'), (2, '해지', '둘', 'b');"
        'create table "TABLE_IN_CP949" (x text, "COLUMN_IN_CP949" text);'
        """insert into "TABLE_IN_CP949" values ('x', 'y'), ('z', null);"""
        'create index "by TABLE_IN_CP949" on "TABLE_IN_CP949" ("COLUMN_IN_CP949");'
    )
    file = write_bytes_for_names(installation.file, script, KOREAN)
    installation.take(file)
    table, column = r"\xb8\xde\xb8\xf0", r"\xba\xf1\xb0\xed"
    expected = [
        ("Topic", {column: "하나", "b": "b"}),
        ("Topic", {column: "둘", "b": "b"}),
        (table, {"x": "x", column: "y"}),
        (table, {"x": "z", column: None}),
    ]
    assert kept(installation) == expected
    assert [name_text(KOREAN[name]) for name in KOREAN] == [table, column]
    assert installation.all("select id, name from topics order by id") == [(1, "요금"), (2, "해지")]
    profile = inspect_file(file, installation.options, quiet)
    assert [found.name for found in profile.tables] == ["Topic", table]
    assert f"{table}  " in installation.said("inspect", file)
    assert table in installation.run("report", "--format", "html").output


def test_a_file_with_such_names_is_caught_up_with_and_undone(installation: Installation) -> None:
    script = TOPICS.format(more=', "COLUMN_IN_CP949" text') + (
        "insert into Topic values (1, '요금', '하나');"
        'create table "TABLE_IN_CP949" (x text);'
        """insert into "TABLE_IN_CP949" values ('x');"""
    )
    file = write_bytes_for_names(installation.file, script, KOREAN)
    installation.import_()
    more = (
        "insert into Topic values (2, '해지', '둘');"
        """insert into "TABLE_IN_CP949" values ('new');"""
    )
    file.unlink()
    write_bytes_for_names(file, script + more, KOREAN)
    assert (synced := installation.sync()).changed == 3, synced
    assert (r"\xb8\xde\xb8\xf0", {"x": "new"}) in kept(installation)
    assert installation.verify().status == "verified"
    installation.undo()
    assert kept(installation) == []


@pytest.mark.parametrize("of", ["table", "column"])
@pytest.mark.parametrize("end", ["", " without rowid"])
def test_beside_columns_that_sqlite_would_rename(end: str, of: str, installation: Installation) -> None:
    """In a view or a query of its own it calls these column2 and column3."""
    table, column = ("TABLE_IN_CP949", "b") if of == "table" else ("notes", "COLUMN_IN_CP949")
    script = TOPICS.format(more="") + (
        f'create table "{table}" (a text primary key, "true" text, "FALSE" integer, "{column}" text){end};'
        f"""insert into "{table}" values ('k', 'v', 1, x'00'), ('l', 1.0, '2', null);"""
    )
    installation.take(write_bytes_for_names(installation.file, script, KOREAN))
    name = name_text(KOREAN[column]) if of == "column" else column
    assert [row for _, row in kept(installation)] == [
        {"a": "k", "true": "v", "FALSE": 1, name: {"blob": "00"}},
        {"a": "l", "true": "1.0", "FALSE": 2, name: None},
    ]
    assert installation.verify().status == "verified"
    assert installation.sync().changed == 0


@pytest.mark.parametrize("of", ["table", "column"])
def test_without_row_numbers(of: str, installation: Installation) -> None:
    table, column = ("TABLE_IN_CP949", "b") if of == "table" else ("notes", "COLUMN_IN_CP949")
    script = TOPICS.format(more="") + (
        f'create table "{table}" (a text primary key, "{column}" text) without rowid;'
        f"""insert into "{table}" values ('k', 'v'), ('l', 'w');"""
    )
    installation.take(write_bytes_for_names(installation.file, script, KOREAN))
    rows = [list(row.values()) for _, row in kept(installation)]
    assert rows == [["k", "v"], ["l", "w"]]


def test_in_utf_16_too(installation: Installation) -> None:
    """There half a character can be in a name, which is no UTF-8 either."""
    with closing(sqlite3.connect(installation.file)) as sqlite:
        sqlite.execute("pragma encoding = 'UTF-16le'")
        sqlite.executescript(TOPICS.format(more="") + 'create table "N_" (x); insert into "N_" values (7);')
        sqlite.execute("pragma writable_schema = on")
        for column in ("sql", "name", "tbl_name"):
            sqlite.execute(
                f"update sqlite_master set {column} = "
                f"cast(replace(cast({column} as blob), cast('N_' as blob), x'4e0000d8') as text) where name like 'N%'"
            )
        sqlite.commit()
    installation.take(installation.file)
    (((table, row)),) = kept(installation)
    assert (list(row.values()), table.startswith("N")) == ([7], True)


def test_names_that_differ_only_to_sqlite(installation: Installation) -> None:
    """Upper and lower case beyond ASCII, composed and decomposed, and longer than a name of PostgreSQL's can be."""
    long = "아" * 30
    names = [
        "É",
        "é",
        "e\u0301",
        "가",
        "\u1100\u1161",
        f"{long} 1",
        f"{long} 2",
        "i",
        "İ",
        "ı",
        "",
        " ",
        "a\\xb0",
        "%s{}",
    ]
    script = TOPICS.format(more="") + "".join(
        f'create table "{name}" ("{name}" text); insert into "{name}" values (\'{number}\');'
        for number, name in enumerate(names)
    )
    installation.take(script)
    expected = {name_text(name.encode()): {name_text(name.encode()): str(number)} for number, name in enumerate(names)}
    assert dict(kept(installation)) == expected
    assert len(expected) == len(names)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        ("요금".encode(), "요금"),
        (b"\xb8\xde", r"\xb8\xde"),
        (rb"\xb8\xde", r"\x5cxb8\x5cxde"),
        (rb"\x5cxb8", r"\x5cx5cxb8"),
        (b"a\\b", "a\\b"),
        (b"a\0b", r"a\x00b"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
    ],
)
def test_no_two_names_have_one_text(raw: bytes, text: str) -> None:
    assert name_text(raw) == text


def test_a_mapped_table_without_row_numbers_whose_collation_is_missing(installation: Installation) -> None:
    with closing(sqlite3.connect(installation.file)) as sqlite:
        sqlite.create_collation("KOREAN", lambda one, other: (one > other) - (one < other))
        sqlite.executescript("""
        create table Topic (ID not null, Name text not null collate KOREAN, primary key (Name, ID)) without rowid;
        insert into Topic values (1, '요금'), (2, '해지'), (3, '가입'), (4.5, '반');
        """)
    outcome = installation.take(installation.file, code=3)
    assert installation.all("select id, name from topics order by id") == [(1, "요금"), (2, "해지"), (3, "가입")]
    assert [(row.source_column, row.rows) for row in outcome.rejects] == [("ID", 1)]


@pytest.mark.parametrize("without", ["", " without rowid"], ids=["with row numbers", "without"])
@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("5", 5),
        ("5.0", 5),
        ("0", 0),
        ("-7", -7),
        ("9223372036854775806", 2**63 - 2),
        ("'5'", "text value in a bigint column"),
        ("x'35'", "blob value in a bigint column"),
        ("5.5", "real value in a bigint column"),
        ("1e19", "real value in a bigint column"),
        ("9e999", "real value in a bigint column"),
    ],
)
def test_an_id_of_any_storage_class(written: str, held: int | str, without: str, installation: Installation) -> None:
    table = "audio_files (id, file_path text not null, file_name text not null, processing_status text"
    key = ", primary key (id)) without rowid" if without else ")"
    outcome = installation.take(
        f"create table {table}{key}; insert into audio_files values ({written}, '/c/1.wav', '1.wav', 'done');",
        code=0 if isinstance(held, int) else 3,
    )
    if isinstance(held, int):
        assert installation.all("select id from audio_files") == [(held,)]
    else:
        assert [(row.source_column, row.reason) for row in outcome.rejects] == [("id", held)]
    # What comes next, from whoever, has an id of its own.
    installation.change("insert into audio_files (file_path, file_name) values ('/c/2.wav', '2.wav')")
    assert installation.one("select count(distinct id) = count(*) from audio_files")


def test_a_row_without_an_id_is_rejected(installation: Installation) -> None:
    file = installation.write(
        "create table audio_files (id bigint primary key, file_path text, file_name text, processing_status text);"
        "insert into audio_files values (null, '/c/1.wav', '1.wav', ''), (2, '/c/2.wav', '2.wav', '');"
    )
    installation.take(file, code=3)
    assert installation.all("select id from audio_files") == [(2,)]
    assert "1 row will be rejected: null in a column that needs a value" in installation.said(
        "inspect", installation.file
    )
    assert installation.all("select source_row ->> 'file_path', reason from imports.rejected") == [
        ("/c/1.wav", 'null value in column "id" of relation "audio_files" violates not-null constraint')
    ]


def test_inspect_tells_of_rows_without_a_value_that_they_need(installation: Installation) -> None:
    """Of one that is null, of several, of a column that the file lacks; as many as the import rejects."""
    file = installation.write(
        "create table audio_properties (id integer primary key, file_path text, file_name text);"
        "insert into audio_properties values (1, '/c/1.wav', '1.wav'), (2, '/c/2.wav', null), (3, 7, null);"
        "create table processing_logs (id bigint primary key, audio_file_id integer, processing_step text,"
        " start_time datetime, status text);"
        "insert into processing_logs values (1, 1, null, null, 'completed'),"
        " (null, 1, 'b', '2024-05-01 10:00:00', 'failed'), (3, 1, 'c', '2024-05-01 10:00:00', 'failed'),"
        " (4, 1, 'd', 'soon', 'failed');"
    )
    foretold: Counter[str] = Counter()
    profile = inspect_file(file, installation.options, quiet)
    for finding in profile.findings:
        assert finding.rejected
        foretold[finding.target] += finding.rows
    assert foretold == {"audio_files": 2, "processing_logs": 3}
    said = installation.said("inspect", file)
    assert "file_name → audio_files: 2 rows will be rejected: null in a column that needs a value" in said
    assert "row 2: NULL" in said
    with pytest.raises(SourceError, match="is not clean"):
        profile.refuse_unclean()
    outcome = installation.take(file, code=3)
    assert Counter({table.target_table: table.rejected for table in outcome.tables if table.rejected}) == foretold


def test_ids_that_are_reals_move_with_the_others(installation: Installation) -> None:
    """What makes an id taken is its value, not how SQLite has stored it."""
    said = (
        "create table audio_properties (id integer primary key, file_path text not null, file_name text not null);"
        "insert into audio_properties values (1, '{0}', 'f');"
        "create table utterances (id, audio_properties_id integer, speaker text, text text, created_at datetime);"
        "insert into utterances values (5.0, 1, 'a', '{0}', '2024-0{1}-01 10:00:00');"
    )
    installation.take(said.format("one", 1), said.format("two", 2))
    ids = [number for (number,) in installation.all("select id from utterances order by id")]
    assert (len(ids), len(set(ids))) == (2, 2)
    installation.take(said.format("three", 3))
    assert installation.one("select count(distinct id) from utterances") == 3
