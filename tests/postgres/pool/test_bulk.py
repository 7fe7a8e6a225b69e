"""Bulk insert: what goes in comes out, value by value, and what does not fit is named by row and column."""

# What is raised must pass through a transaction that has done something.
# ruff: noqa: PT012

from __future__ import annotations

import enum
import json
import math
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors
from psycopg.types.json import Json

from callytics.exceptions import NotMigrated, RowRefused
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from tests.support.pooling import manager_for

BINARY = {
    "small": "smallint",
    "whole": "integer",
    "big": "bigint",
    "real": "double precision",
    "flag": "boolean",
    "words": "text",
    "short": "varchar(10)",
    "at": "timestamptz",
    "wall": "timestamp",
    "day": "date",
    "json": "jsonb",
    "plain_json": "json",
    "raw": "bytea",
    "id": "uuid",
    "kind": "kind",
    "name": "spoken",
}
CSV = {
    "amount": "numeric",
    "moment": "time",
    "length": "interval",
    "scores": "double precision[]",
    "tags": "text[]",
    "address": "inet",
    "single": "real",
}
SEOUL = ZoneInfo("Asia/Seoul")


@pytest.fixture(scope="module")
def manager(template: Settings, server: Any) -> Iterator[PostgreSQLManager]:
    """A database with two tables: all columns have a binary form, or some have none."""
    from dataclasses import replace

    own = replace(template, database="bulk_insert")
    server.provide(own)
    with manager_for(own) as manager:
        manager.execute_query("CREATE TYPE kind AS ENUM ('agent', 'customer')")
        manager.execute_query("CREATE DOMAIN spoken AS text CHECK (value <> 'forbidden')")
        for table, columns in (("binaries", BINARY), ("texts", BINARY | CSV)):
            listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            manager.execute_query(f"CREATE TABLE {table} (n serial, {listed})")
        yield manager


def stored(manager: PostgreSQLManager, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Insert nothing more, and return the table's rows in the order they came."""
    return [
        tuple(row.values()) for row in manager.execute_query(f"SELECT {', '.join(columns)} FROM {table} ORDER BY n")
    ]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["", " ", '"', '""', "\\", "\\.", "a\n\\.\nb", "\\N", "NULL", "a,b", "line\nbreak", "\r\n", "\t", "한국어 🎧"]
)
WALL = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
BINARY_VALUES = {
    "small": st.integers(-(2**15), 2**15 - 1),
    "whole": st.integers(-(2**31), 2**31 - 1),
    "big": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 0.1]),
    "flag": st.booleans(),
    "words": TEXT,
    "short": st.text("a'\"\\,\n 한", max_size=10),
    "at": WALL.map(lambda wall: wall.replace(tzinfo=UTC)) | WALL.map(lambda wall: wall.replace(tzinfo=SEOUL)),
    "wall": WALL,
    "day": st.dates(),
    "json": JSON.filter(lambda value: value is not None),
    "plain_json": JSON.filter(lambda value: value is not None),
    "raw": st.binary(max_size=20),
    "id": st.uuids(),
    "kind": st.sampled_from(["agent", "customer"]),
    "name": TEXT.filter(lambda text: text != "forbidden"),
}
CSV_VALUES = {
    "amount": st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12),
    "moment": st.times(),
    "length": st.timedeltas(timedelta(days=-100000), timedelta(days=100000)),
    "scores": st.lists(st.none() | st.floats(allow_nan=False), max_size=4),
    "tags": st.lists(st.none() | TEXT, max_size=4),
    "address": st.ip_addresses(v=4).map(str),
    "single": st.floats(width=32, allow_nan=False),
}


def rows_of(values: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Return lists of rows in which anything may be missing."""
    return st.lists(st.tuples(*(st.none() | value for value in values.values())), max_size=12)


def comparable(value: Any) -> Any:
    """Return something that is equal only to the very same value: of floats the bits, of instants the instant."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    if isinstance(value, datetime) and value.tzinfo:
        return ("instant", value.astimezone(UTC))
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return value


def json_numbers(value: Any) -> Any:
    """Return JSON with its numbers as numbers: to jsonb 1e2 is 100."""
    return json.loads(json.dumps(value), parse_float=Decimal, parse_int=Decimal)


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows_of(BINARY_VALUES))
def test_values_come_back_as_they_went(manager: PostgreSQLManager, rows: list[tuple[Any, ...]]) -> None:
    check_round_trip(manager, "binaries", list(BINARY_VALUES), rows)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows_of(BINARY_VALUES | CSV_VALUES))
def test_values_of_any_type_come_back_as_they_went(manager: PostgreSQLManager, rows: list[tuple[Any, ...]]) -> None:
    check_round_trip(manager, "texts", list(BINARY_VALUES | CSV_VALUES), rows)


def check_round_trip(manager: PostgreSQLManager, table: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    manager.execute_query(f"TRUNCATE {table} RESTART IDENTITY")
    assert manager.bulk_insert(table, columns, iter(rows)) == len(rows)
    for row, back in zip(rows, stored(manager, table, columns), strict=True):
        for column, given_value, value in zip(columns, row, back, strict=True):
            if "json" in column:
                given_value, value = json_numbers(given_value), json_numbers(value)
                assert given_value == value
            elif column == "single" and value is not None:
                assert struct.pack("f", value) == struct.pack("f", given_value)
            else:
                assert comparable(value) == comparable(given_value), column


def test_streams_many_rows_of_very_different_size(manager: PostgreSQLManager) -> None:
    def rows() -> Iterator[tuple[int, str | None]]:
        for number in range(60_000):
            yield number, "x" * 500_000 if number in (3, 40_000) else str(number) if number % 3 else None

    for table in ("binaries", "texts"):
        manager.execute_query(f"TRUNCATE {table}")
        assert manager.bulk_insert(table, ("whole", "words"), rows()) == 60_000
        found = manager.execute_query(
            f"SELECT count(*) AS rows, count(DISTINCT whole) AS ids, sum(length(words)) AS length,"
            f" count(words) AS words, bool_and(whole = words::bigint) FILTER (WHERE length(words) < 9) AS same"
            f" FROM {table}",
            fetch="one",
        )
        length = sum(len(text) for _, text in rows() if text)
        assert found == {"rows": 60_000, "ids": 60_000, "length": length, "words": 40_001, "same": True}


@pytest.mark.parametrize("table", ["binaries", "texts"])
def test_one_column_and_no_rows(manager: PostgreSQLManager, table: str) -> None:
    manager.execute_query(f"TRUNCATE {table} RESTART IDENTITY")
    assert manager.bulk_insert(table, ["words"], []) == 0
    assert manager.bulk_insert(f"public.{table}", ["words"], [["a"], [None], [""], ("b",)]) == 4
    assert stored(manager, table, ["words"]) == [("a",), (None,), ("",), ("b",)]


def test_counterparts_of_the_plain_types(manager: PostgreSQLManager) -> None:
    class Kind(enum.Enum):
        AGENT = "agent"

    class Word(enum.StrEnum):
        HELLO = "hello"

    class Level(enum.IntEnum):
        TWO = 2

    columns = ["whole", "real", "words", "kind", "json", "raw"]
    manager.execute_query("TRUNCATE binaries")
    rows = [
        (Level.TWO, 3, Word.HELLO, Kind.AGENT, Json({"a": 1}), bytearray(b"x")),
        (None, None, None, None, None, None),
    ]
    manager.bulk_insert("binaries", columns, rows)
    first, second = manager.execute_query(f"SELECT {', '.join(columns)} FROM binaries ORDER BY n")
    assert (first.pop("raw"), list(first.values())) == (b"x", [2, 3.0, "hello", "agent", {"a": 1}])
    assert set(second.values()) == {None}


REFUSED = [
    ("whole", 1.0, "float is not a whole number"),
    ("whole", True, "bool is not a whole number"),
    ("whole", "1", "str is not a whole number"),
    ("whole", 2**31, "int does not fit into int4"),
    ("big", 2**63, "int does not fit into int8"),
    ("real", "1.5", "str is not a float"),
    ("real", True, "bool is not a float"),
    ("real", Decimal("0.1"), "Decimal is not a float"),
    ("real", 2**53 + 1, "int can't be stored exactly as a float"),
    ("flag", 1, "int is not a bool"),
    ("words", 5, "int is not a str"),
    ("words", b"x", "bytes is not a str"),
    ("words", "secret\ud800", "str does not fit into text"),
    ("words", "secret\0", r"PostgreSQL can't store it \(22021: invalid byte sequence"),
    ("short", "secret words", r"PostgreSQL can't store it \(22001: value too long"),
    ("at", datetime(2026, 1, 1), "datetime is not a datetime with a time zone"),
    ("at", date(2026, 1, 1), "date is not a datetime with a time zone"),
    ("at", "2026-01-01", "str is not a datetime with a time zone"),
    ("wall", datetime(2026, 1, 1, tzinfo=UTC), "datetime is not a datetime without a time zone"),
    ("day", datetime(2026, 1, 1), "datetime is not a date"),
    ("json", math.nan, "float is not JSON"),
    ("json", object(), "object is not JSON"),
    ("json", {"a": "secret\0"}, r"PostgreSQL can't store it \(22P05"),
    ("raw", "x", "str is not bytes"),
    ("id", "secret", "str is not a UUID"),
    ("kind", "secret", r"PostgreSQL can't store it \(22P02"),
    ("amount", "1", "str is not a number"),
    ("moment", "secret", "str is not a time"),
    ("length", 5, "int is not a timedelta"),
    ("scores", [1.0, "secret"], "list is not a float"),
    ("scores", 1.0, "float is not a list"),
    ("tags", [["a"], ["b", "c"]], r"PostgreSQL can't store it \(22P02"),
    ("address", "secret", r"PostgreSQL can't store it \(22P02"),
    ("address", 1.5, "float is not a str"),
]


@pytest.mark.parametrize("index", [0, 7_001])
@pytest.mark.parametrize(("column", "value", "reason"), REFUSED)
def test_a_bad_value_is_named_and_nothing_is_stored(
    manager: PostgreSQLManager, column: str, value: Any, reason: str, index: int
) -> None:
    """In both forms, in the first batch and in a later one, past texts of several lines; the value is not told."""
    manager.execute_query("TRUNCATE binaries, texts")

    def rows() -> Iterator[tuple[Any, ...]]:
        for number in range(7_100):
            yield "several\nlines", value if number == index else None

    for table in ("binaries", "texts") if column in BINARY else ("texts",):
        words = "name" if column == "words" else "words"
        with pytest.raises(RowRefused, match=rf"^rows\[{index}\]\.{column}: {reason}") as caught:
            manager.bulk_insert(table, (words, column), rows())
        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__
        assert manager.execute_query(f"SELECT count(*) FROM {table}", fetch="val") == 0


@pytest.mark.parametrize("row", [(1,), (1, 2, 3), ()])
def test_a_row_of_another_length_is_named(manager: PostgreSQLManager, row: tuple[int, ...]) -> None:
    rows = [(1, "a")] * 600 + [row] + [(1, "a")] * 5
    with pytest.raises(RowRefused, match=rf"^rows\[600\]: has {len(row)} values? for 2 columns$"):
        manager.bulk_insert("binaries", ("whole", "words"), rows)
    with pytest.raises(RowRefused, match=rf"^rows\[0\]: has {len(row)} values? for 2 columns$"):
        manager.bulk_insert("binaries", ("whole", "words"), [row])


def test_constraints_speak_for_themselves_and_all_is_undone(manager: PostgreSQLManager) -> None:
    manager.execute_query("TRUNCATE binaries")
    with pytest.raises(errors.CheckViolation):
        manager.bulk_insert("binaries", ["name"], [["fine"], ["forbidden"]])
    with pytest.raises(NotMigrated, match='column "absent"'):
        manager.bulk_insert("binaries", ["absent"], [["x"]])
    with pytest.raises(NotMigrated, match='relation "absent"'):
        manager.bulk_insert("absent", ["absent"], [["x"]])
    assert stored(manager, "binaries", ["name"]) == []


def test_joins_the_open_transaction(manager: PostgreSQLManager) -> None:
    manager.execute_query("TRUNCATE binaries")
    with manager.transaction():
        assert manager.bulk_insert("binaries", ["whole"], [[1], [2]]) == 2
        with pytest.raises(RowRefused):
            manager.bulk_insert("binaries", ["whole"], [[3], ["x"]])
        manager.bulk_insert("binaries", ["whole"], [[4]])
    assert stored(manager, "binaries", ["whole"]) == [(1,), (2,), (4,)]
    with pytest.raises(ZeroDivisionError), manager.transaction():
        manager.bulk_insert("binaries", ["whole"], [[5]])
        raise ZeroDivisionError
    assert len(stored(manager, "binaries", ["whole"])) == 3


def test_what_the_callers_rows_raise_is_passed_on(manager: PostgreSQLManager, server: Any) -> None:
    """Its words, which may be a caller's, are not sent to the server, which would log them."""

    def rows() -> Iterator[tuple[int]]:
        yield (1,)
        raise KeyError("words of a caller's row")

    manager.execute_query("TRUNCATE binaries")
    logged_before = server.log.stat().st_size
    with pytest.raises(KeyError, match="of a caller's row"):
        manager.bulk_insert("binaries", ["whole"], rows())
    assert stored(manager, "binaries", ["whole"]) == []
    with server.log.open("rb") as log:
        log.seek(logged_before)
        logged = log.read().decode()
    assert "COPY from stdin failed" in logged
    assert "of a caller" not in logged
