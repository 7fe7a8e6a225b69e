"""Named queries of a .sql file, run on a connection; identifiers and literals are quoted in one place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from callytics.postgres import connect
from callytics.postgres.sql import Queries, literal, quote
from callytics.settings import Settings

TEXT = """\
-- Queries of a test.

-- name: make
-- Makes a table.
create temp table {table} ({column} text, n integer)

-- name: fill
insert into {table} ({columns}) values (%(word)s, 1), (%(word)s, 2)

-- name: read
select {column} as word, n from {table} where n >= %s order by n

-- name: now
select current_database()
"""
ODD = 'a "b".c%'


@pytest.fixture
def queries(tmp_path: Path) -> Queries:
    path = tmp_path / "test.sql"
    path.write_text(TEXT)
    return Queries(path)


@pytest.fixture
def connection(empty_database: Settings) -> Iterator[Connection]:
    with closing(connect(empty_database)) as connection:
        yield connection


def test_a_query_runs_with_parameters_and_identifiers(queries: Queries, connection: Connection) -> None:
    queries.run(connection, "make", table="words", column="a word")
    assert queries.run(connection, "fill", {"word": "이"}, table="words", columns=["a word", "n"]) == 2
    read = {"table": "pg_temp.words", "column": "a word"}
    assert queries.rows(connection, "read", (1,), **read) == [("이", 1), ("이", 2)]
    assert queries.all(connection, "read", (2,), **read) == [{"word": "이", "n": 2}]
    assert queries.one(connection, "read", (1,), **read) == {"word": "이", "n": 1}
    assert queries.value(connection, "read", (1,), **read) == "이"
    assert queries.one(connection, "read", (3,), **read) is None
    assert queries.value(connection, "read", (3,), **read) is None


def test_a_schema_stands_before_a_dot(queries: Queries, connection: Connection) -> None:
    assert queries.text("make", table="public.words", column="a").splitlines()[1] == (
        'create temp table "public"."words" ("a" text, n integer)'
    )


def test_the_text_of_a_query_has_its_sentence(queries: Queries) -> None:
    assert queries["now"] == "select current_database()"
    assert queries["make"].startswith("-- Makes a table.\n")
    assert list(queries) == ["make", "fill", "read", "now"]
    with pytest.raises(KeyError):
        queries["nothing"]


def test_two_queries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.sql"
    path.write_text("-- name: lock\nselect 1\n\n-- name: lock\nselect 2\n")
    with pytest.raises(ValueError, match=r"two queries of twice\.sql have the same name"):
        Queries(path)


def test_both_databases_read_what_is_quoted_as_it_was(connection: Connection) -> None:
    query = f"select {literal(ODD)} as {quote(ODD)}, {literal(chr(39) + chr(92))}"
    with connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.description[0].name == ODD
        assert cursor.fetchone() == (ODD, "'\\")
    with closing(sqlite3.connect(":memory:")) as sqlite:
        found = sqlite.execute(query)
        assert found.description[0][0] == ODD
        assert found.fetchone() == (ODD, "'\\")
