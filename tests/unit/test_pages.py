"""What differs between two snapshots is found by their pages, whatever was done to the file in between."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from callytics.importer.source.excerpt import excerpt
from callytics.importer.source.pages import NotUnderstood, difference, most_overflow
from callytics.importer.source.reader import Source

TABLES = {
    "calls": "create table calls (id integer primary key, text, number)",
    "turns": "create table turns (a text unique, text, number)",
    "big": "create table big (id integer primary key autoincrement, text, number)",
}
# What a page holds less than all of, and what takes one or several overflow pages.
LENGTHS = [0, 3, 40, 40, 40, 400, 700, 3000]


def content(path: Path) -> dict[str, dict[int, tuple[Any, ...]]]:
    """Return all rows by table and row number, with their storage classes."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: {
                number: (typeof, text, amount, kind)
                for number, typeof, text, amount, kind in connection.execute(
                    f"select rowid, typeof(text), text, number, typeof(number) from {table}"
                )
            }
            for table in TABLES
        }


def work(connection: sqlite3.Connection, chance: random.Random, steps: int) -> None:
    """Do what applications do to a file, some of it at once."""
    for _ in range(steps):
        table = chance.choice(list(TABLES))
        numbers = [number for (number,) in connection.execute(f"select rowid from {table}")]
        text = chance.choice("abc") * chance.choice(LENGTHS)
        some = chance.sample(numbers, min(len(numbers), chance.choice([1, 1, 1, 5, 60])))
        match chance.randrange(12):
            case 0:
                connection.executemany(f"delete from {table} where rowid = ?", ((one,) for one in some))
            case 1:
                high = chance.choice([2**62, 10**6, -5, 200])
                connection.execute(
                    f"insert or replace into {table} (rowid, text, number) values (?, ?, 1)",
                    (chance.randrange(-10, 10) + high, text),
                )
            case 2 | 3 | 4:
                many = [(text, one) for one in range(chance.choice([1, 30, 300]))]
                connection.executemany(f"insert into {table} (text, number) values (?, ?)", many)
            case 5:
                # The end of a long text: it is in an overflow page, and the leaf stays as it is.
                end = "text = substr(text, 1, length(text) - 1) || 'z'"
                connection.executemany(f"update {table} set {end} where rowid = ?", ((one,) for one in some))
            case 6:
                connection.execute("drop table if exists scratch")
                connection.execute("create table scratch as select * from calls limit 500")
            case 7 if not chance.randrange(4):
                # As tables are rebuilt: its pages are another table's now.
                connection.execute(f"alter table {table} rename to old")
                connection.execute(TABLES[table])
                connection.execute(f"insert into {table} (rowid, text, number) select rowid, text, number from old")
                connection.execute("drop table old")
            case 8 if not chance.randrange(4):
                connection.commit()
                connection.execute("vacuum")
            case 9:
                connection.execute(f"create index if not exists {table}_text on {table} (text)")
            case _:
                statement = f"update {table} set number = number + 1, text = ? where rowid = ?"
                connection.executemany(statement, ((text, one) for one in some))
        connection.commit()


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 24))])
def test_the_rows_that_differ_are_found_whatever_was_done(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    live, was, now = (tmp_path / f"{name}.sqlite" for name in ("live", "was", "now"))
    with closing(sqlite3.connect(live)) as connection:
        connection.execute(f"pragma page_size = {chance.choice([512, 512, 1024, 4096])}")
        connection.execute(f"pragma auto_vacuum = {chance.choice(['none', 'none', 'none', 'full'])}")
        connection.execute("pragma synchronous = off")
        for statement in TABLES.values():
            connection.execute(statement)
        work(connection, chance, 40)
        shutil.copyfile(live, was)
        for number in range(4):
            work(connection, chance, chance.choice([0, 1, 1, 3, 12]))
            shutil.copyfile(live, now)
            folder = tmp_path / str(number)
            folder.mkdir()
            found = excerpt(Source(was), Source(now), folder, {})
            before, after = content(was), content(now)
            for table in set(TABLES) & set(found.rows):
                one, other = content(found.was.path)[table], content(found.now.path)[table]
                assert one == {key: row for key, row in before[table].items() if row != after[table].get(key)}
                assert other == {key: row for key, row in after[table].items() if row != before[table].get(key)}
            shutil.copyfile(now, was)


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, Path]:
    """A file with 30,000 rows, and a copy of it."""
    was, now = tmp_path / "was.sqlite", tmp_path / "now.sqlite"
    with closing(sqlite3.connect(was)) as connection, connection:
        for statement in TABLES.values():
            connection.execute(statement)
        rows = [(f"text {number}" * 5, number) for number in range(30_000)]
        connection.executemany("insert into calls (text, number) values (?, ?)", rows)
        connection.executemany("insert into big (text, number) values (?, ?)", [("x" * 9000, 1)] * 50)
    shutil.copyfile(was, now)
    return was, now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for excerpts."""
    path = tmp_path / "excerpt"
    path.mkdir()
    return path


def roots(path: Path, table: str) -> int:
    """Return the page in which a table begins."""
    with closing(sqlite3.connect(path)) as connection:
        query = "select rootpage from sqlite_master where name = ?"
        return int(connection.execute(query, (table,)).fetchone()[0])


def test_only_the_pages_of_changed_rows_are_looked_at(large: tuple[Path, Path]) -> None:
    """For a row of 30,000 a leaf of its table, and for one that was added the last leaf."""
    was, now = large
    with closing(sqlite3.connect(now)) as connection, connection:
        connection.execute("update calls set text = replace(text, 'e', 'E') where id = 15000")
        connection.execute("insert into calls (text) values ('new')")
    with difference(was, now) as pages:
        leaves = pages.leaves(roots(was, "calls"), roots(now, "calls"))
        assert [len(one) for one in leaves] == [2, 2]
        (first, last), (start, end) = pages.rows(leaves)
        assert first <= 15_000 <= last < start <= 30_000 < end == 30_001
        assert last - first < 200
        assert pages.leaves(roots(was, "big"), roots(now, "big")) == (set(), set())
        assert pages.unexplained == set()


def test_a_page_that_continues_a_row_is_told_from_all_others(large: tuple[Path, Path], folder: Path) -> None:
    """Its leaf is the same: the rows of its table have to be compared, and no other table's."""
    was, now = large
    with closing(sqlite3.connect(now)) as connection, connection:
        connection.execute("update big set text = substr(text, 1, 8999) || 'z' where id = 25")
    with difference(was, now) as pages:
        assert pages.leaves(roots(was, "big"), roots(now, "big")) == (set(), set())
        pages.explain({1, roots(was, "calls")}, {1, roots(now, "calls")})
        assert len(pages.unexplained) >= 1
    found = excerpt(Source(was), Source(now), folder, {})
    assert dict(found.rows) == {"calls": 0, "turns": 0, "big": 1}


@pytest.mark.parametrize("pragma", ["page_size = 1024", "auto_vacuum = full"])
def test_other_pages_tell_nothing(pragma: str, large: tuple[Path, Path], folder: Path) -> None:
    was, now = large
    with closing(sqlite3.connect(now)) as connection:
        connection.execute(f"pragma {pragma}")
        connection.execute("vacuum")
    with pytest.raises(NotUnderstood), difference(was, now):
        pass
    assert set(excerpt(Source(was), Source(now), folder, {}).rows.values()) == {0}


def all_roots(path: Path) -> list[int]:
    """Return the pages in which all tables and indexes begin, and that of their list."""
    with closing(sqlite3.connect(path)) as connection:
        return [1, *(root for (root,) in connection.execute("select rootpage from sqlite_master where rootpage > 0"))]


@pytest.mark.parametrize("pragma", ["page_size = 4096", "page_size = 512", "page_size = 65536", "auto_vacuum = full"])
@pytest.mark.parametrize("seed", range(3))
def test_no_row_is_larger_than_the_overflow_pages_allow(seed: int, pragma: str, tmp_path: Path) -> None:
    path, chance = tmp_path / "calls.sqlite", random.Random(seed)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"pragma {pragma}")
        for statement in TABLES.values():
            connection.execute(statement)
        work(connection, chance, 30)
        small = most_overflow(path, all_roots(path))
        connection.execute("insert into big (text) values (?)", ("x" * 5_000_000,))
        connection.commit()
    found = most_overflow(path, all_roots(path))
    longest = max(len(text or "") for rows in content(path).values() for _, text, *_ in rows.values())
    assert longest <= found + 65_536
    assert 0 <= small <= found - 4_900_000


def test_damaged_pages_tell_nothing(large: tuple[Path, Path]) -> None:
    """Whatever is in them: what is wrong with the file is said by the integrity check."""
    was, now = large
    chance = random.Random(1)
    size, understood = was.stat().st_size, []
    for _ in range(100):
        shutil.copyfile(was, now)
        with now.open("r+b") as file:
            file.seek(chance.randrange(1, size // 4096) * 4096)
            file.write(chance.randbytes(64))
        try:
            with difference(was, now) as pages:
                pages.rows(pages.leaves(roots(was, "calls"), roots(was, "calls")))
                pages.explain({1, roots(was, "big")}, {1, roots(was, "big")})
                understood.append(True)
        except NotUnderstood:
            understood.append(False)
    assert set(understood) == {True, False}
