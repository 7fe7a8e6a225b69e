"""The rows that differ between two snapshots: all of them and no others, with every value as SQLite holds it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callytics.exceptions import SnapshotUnreadable
from callytics.importer.source.excerpt import excerpt
from callytics.importer.source.reader import Source

TABLES = """
create table calls (id integer primary key autoincrement, path text collate nocase, seconds real, untyped, raw blob,
                    at datetime);
create table plain (a text, b integer);
create table keyed (code text primary key, name text) without rowid;
"""
Rows = list[tuple[Any, ...]]


def made(path: Path, *statements: str, tables: str = TABLES) -> Source:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(tables)
        for statement in statements:
            connection.execute(statement)
    return Source(path)


def rows(source: Source, table: str) -> Rows:
    """Return the rows of a table with their storage classes, texts as bytes."""
    with closing(sqlite3.connect(source.path)) as connection:
        connection.text_factory = bytes
        columns = [name.decode() for _, name, *_ in connection.execute(f"pragma table_info({table})")]
        classes = ", ".join(f'"{name}", typeof("{name}"), quote("{name}")' for name in columns)
        return connection.execute(f'select rowid, {classes} from "{table}" order by rowid').fetchall()


def differing(was: Rows, now: Rows) -> tuple[Rows, Rows]:
    """Return the rows that only one side has, by the rule itself: all of a row, or none."""
    return [row for row in was if row not in now], [row for row in now if row not in was]


# What SQLite, a collation or an affinity could take for the same.
VALUES = st.sampled_from(
    [None, 0, 1, 1.0, 0.0, -0.0, 2**53, float(2**53), "1", b"1", "a", "A", b"a", "", b"", "a\0b", "a\0c", "가", "가"]
)
ROW = st.fixed_dictionaries({"path": VALUES, "seconds": VALUES, "untyped": VALUES, "raw": VALUES, "at": VALUES})
TABLE = st.dictionaries(st.integers(-3, 6), ROW, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(was=TABLE, now=TABLE)
def test_the_rows_that_differ_and_no_others(
    was: dict[int, dict[str, Any]], now: dict[int, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("excerpt")
    sources = []
    for name, content in (("a", was), ("b", now)):
        source = made(folder / f"{name}.sqlite")
        with closing(sqlite3.connect(source.path)) as connection, connection:
            for number, row in content.items():
                connection.execute(
                    "insert into calls (id, path, seconds, untyped, raw, at) values (?, ?, ?, ?, ?, ?)",
                    (number, *row.values()),
                )
        sources.append(source)
    found = excerpt(*sources, folder, {})
    assert set(found.rows) == {"calls", "plain"}
    expected = differing(*(rows(source, "calls") for source in sources))
    assert (rows(found.was, "calls"), rows(found.now, "calls")) == expected
    assert found.rows["calls"] == len({row[0] for side in expected for row in side})


def test_numbers_of_rows_without_a_key_stay(tmp_path: Path) -> None:
    was = made(tmp_path / "a.sqlite", "insert into plain (rowid, a, b) values (7, 'x', 1), (9, 'y', 2), (11, 'z', 3)")
    now = made(tmp_path / "b.sqlite", "insert into plain (rowid, a, b) values (7, 'x', 1), (9, 'Y', 2), (12, 'z', 3)")
    found = excerpt(was, now, tmp_path, {})
    assert [row[:2] for row in rows(found.was, "plain")] == [(9, b"y"), (11, b"z")]
    assert [row[:2] for row in rows(found.now, "plain")] == [(9, b"Y"), (12, b"z")]


def test_a_table_without_numbers_or_of_another_shape_is_left_to_be_compared_as_a_whole(tmp_path: Path) -> None:
    was = made(tmp_path / "a.sqlite", "create table gone (x)")
    now = made(tmp_path / "b.sqlite", "alter table plain add column c", "create table added (x)")
    found = excerpt(was, now, tmp_path, {})
    assert set(found.rows) == {"calls"}


def test_a_declared_type_that_changed_is_another_shape(tmp_path: Path) -> None:
    """The same bytes can be another value: what is stored as 1 is 1.0 in a column that is REAL."""
    was = made(tmp_path / "a.sqlite", tables="create table t (x integer)")
    now = made(tmp_path / "b.sqlite", tables="create table t (x real)")
    assert excerpt(was, now, tmp_path, {}).rows == {}


def test_rows_that_are_asked_for_come_along(tmp_path: Path) -> None:
    statement = "insert into calls (id) values (1), (2), (3)"
    was = made(tmp_path / "a.sqlite", statement)
    now = made(
        tmp_path / "b.sqlite", statement, "delete from calls where id = 2", "update calls set path = 'x' where id = 3"
    )
    found = excerpt(was, now, tmp_path, {"calls": [1, 2, 7]})
    numbers = [[row[0] for row in rows(source, "calls")] for source in (found.was, found.now)]
    assert (numbers, found.rows["calls"]) == ([[1, 2, 3], [1, 3]], 4)


@pytest.mark.parametrize("encodings", [("UTF-16le", "UTF-16le"), ("UTF-8", "UTF-16be")])
def test_texts_in_other_encodings(encodings: tuple[str, str], tmp_path: Path) -> None:
    """Files of one encoding are compared; of two, all rows have to be."""
    sources = [
        made(
            tmp_path / f"{text}.sqlite", f"insert into calls (id, path) values (1, '가'), (2, '{text}')", tables=tables
        )
        for text, tables in zip(
            ("a", "b"), (f"pragma encoding = '{name}'; {TABLES}" for name in encodings), strict=True
        )
    ]
    found = excerpt(*sources, tmp_path, {})
    assert dict(found.rows) == ({"calls": 1, "plain": 0} if encodings[0] == encodings[1] else {})
    assert not found.rows or [row[0] for row in rows(found.now, "calls")] == [2]


def test_the_highest_id_ever_given_comes_along(tmp_path: Path) -> None:
    added = "insert into calls (id) values (40)"
    was = made(tmp_path / "a.sqlite", added, "delete from calls")
    now = made(tmp_path / "b.sqlite", added, "delete from calls", "insert into calls (path) values ('/a')")
    found = excerpt(was, now, tmp_path, {})
    [table] = [table for table in found.now.tables if table.name == "calls"]
    assert (found.was.sequence(table), found.now.sequence(table)) == (40, 41)


def test_columns_that_shadow_the_row_number_and_odd_names(tmp_path: Path) -> None:
    tables = (
        'create table "ta""ble 가" (rowid, _rowid_ text, "se""lect" blob); create table rowids (oid, rowid, _rowid_)'
    )
    insert = 'insert into "ta""ble 가" (oid, rowid, _rowid_) values (1, 5, 6), (2, 7, 8)'
    was = made(tmp_path / "a.sqlite", insert, tables=tables)
    now = made(tmp_path / "b.sqlite", insert, 'update "ta""ble 가" set rowid = 9 where oid = 2', tables=tables)
    found = excerpt(was, now, tmp_path, {})
    assert found.rows == {'ta"ble 가': 1}
    with closing(sqlite3.connect(found.now.path)) as connection:
        assert connection.execute('select oid, rowid, _rowid_ from "ta""ble 가"').fetchall() == [(2, 9, "8")]


def test_a_snapshot_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    statement = (
        "insert into plain select hex(randomblob(2000)), value from json_each('[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]')"
    )
    was, now = made(tmp_path / "a.sqlite", statement), made(tmp_path / "b.sqlite", statement)
    assert [len(one.tables) for one in (was, now)] == [3, 3]
    size = now.path.stat().st_size
    with now.path.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\xff" * (size // 2))
    with pytest.raises(SnapshotUnreadable, match=r"a\.sqlite or .*b\.sqlite can't be read"):
        excerpt(was, now, tmp_path, {})


@pytest.mark.parametrize(
    "name", ["{", "}", "{0}", "{one}", "{{other}}", "%s", "a`b", 'a"b', "it's", "", " ", "a.b", "?1"]
)
def test_names_are_no_part_of_a_form(name: str, tmp_path: Path) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    tables = f"create table {quoted} ({quoted}); insert into {quoted} values (1), (2), (3);"
    was = made(tmp_path / "a.sqlite", tables=tables)
    now = made(tmp_path / "b.sqlite", f"update {quoted} set {quoted} = 9 where rowid = 2", tables=tables)
    found = excerpt(was, now, tmp_path, {})
    assert dict(found.rows) == {name: 1}
    sides = []
    for source in (found.was, found.now):
        with closing(sqlite3.connect(source.path)) as connection:
            sides.append(connection.execute(f"select rowid, {quoted} from {quoted}").fetchall())
    assert sides == [[(2, 2)], [(2, 9)]]
