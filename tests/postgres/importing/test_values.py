"""Dirty values: each arrives exactly, takes a named normalisation, or is rejected with its raw bytes."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callytics.importer import Outcome, inspect_file, zone_named
from callytics.settings import Settings
from tests.support.independent import (
    Impossible,
    Text,
    becomes,
    decoded_row,
    document,
    equal,
    identical,
    raw_form,
    storage_class,
)
from tests.support.installation import Installation, quiet

pytestmark = pytest.mark.slow

# A table of generation 3 for each type, its columns declared without a type, so that SQLite keeps what it is given.
RECORDING = ("file_path", "processing_status", "file_name")
PERSON = ("account_id", "employee_id", "full_name", "first_name", "last_name", "department", "position")
SHAPES = {
    "bigint": ("audio_files", "file_size", RECORDING),
    "double precision": ("audio_files", "duration_seconds", RECORDING),
    "text": ("audio_files", "error_message", RECORDING),
    "timestamp with time zone": ("audio_files", "processing_completed_at", RECORDING),
    "boolean": ("business_type_codes", "is_active", ("code", "name")),
    "date": ("agent_profiles", "hire_date", PERSON),
    "jsonb": ("analysis_history", "parameters", ("session_id", "analysis_type", "status")),
}
FILLERS = {
    "file_path": "/p/{}", "processing_status": "pending", "file_name": "f", "code": "c{}", "name": "n",
    "employee_id": "e{}", "full_name": "n", "first_name": "n", "last_name": "n", "department": "d", "position": "p",
    "analysis_type": "llm", "status": "completed", "account_id": 0, "session_id": 0,
}  # fmt: skip


@dataclass
class Trial(Installation):
    """Files of one table and one column of interest, imported one after the other into the same database."""

    def __post_init__(self) -> None:
        self.all("set timezone = 'UTC'")

    def write_values(self, kind: str, values: Sequence[Any]) -> None:
        """Write a file that has the values in a column of the kind, one a row, numbered from 1."""
        table, column, others = SHAPES[kind]
        self.file.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.file)) as sqlite, sqlite:
            sqlite.execute(f"create table {table} (id integer primary key, {', '.join(others)}, {column})")
            marks = ", ".join("?" * len(others))
            for number, value in enumerate(values, 1):
                # Text that is not UTF-8 can only come in as bytes.
                mark = "cast(? as text)" if isinstance(value, Text) else "?"
                fillers = [str(FILLERS[name]).format(number) if FILLERS[name] else number for name in others]
                sqlite.execute(f"insert into {table} values (?, {marks}, {mark})", (number, *fillers, value))

    def load(self, zone: str = "UTC") -> Outcome:
        """Empty the database, import the file, and require that all is accounted for and verified."""
        self.all("truncate imports.runs, audio_files, agent_profiles, analysis_history, business_type_codes cascade")
        outcome = replace(self, options=replace(self.options, zone=zone_named(zone))).import_()
        for snapshot in self.options.snapshots.iterdir():
            snapshot.unlink()
        assert outcome.differences == []
        assert all(table.loaded + table.rejected == table.source_rows for table in outcome.tables)
        return outcome

    def loaded(self, kind: str) -> dict[int, Any]:
        """Return what arrived, by id; jsonb as text."""
        table, column, _ = SHAPES[kind]
        cast = "::text" if kind == "jsonb" else ""
        return dict(self.all(f"select id, {column}{cast} from {table}"))

    def rejected_values(self) -> dict[int, tuple[str | None, str, str | None, bytes | None, dict[str, Any]]]:
        """Return what was rejected, by row number: column, reason, storage class, raw bytes, row."""
        rows = self.all(
            "select source_rowid, source_column, reason, storage_class, raw, source_row::text from imports.rejected"
        )
        return {rowid: (*rest, raw and bytes(raw), decoded_row(row)) for rowid, *rest, raw, row in rows}  # type: ignore[misc]

    def normalisations(self) -> set[str]:
        """Return the names of the normalisations that were counted."""
        return {name for (name,) in self.all("select normalisation from imports.normalisations")}

    def check(self, kind: str, values: Sequence[Any]) -> None:
        """Require of every value: loaded as what it must be, or rejected with its raw bytes; NULL is loaded."""
        loaded, rejected = self.loaded(kind), self.rejected_values()
        assert len(loaded) + len(rejected) == len(values)
        for number, value in enumerate(values, 1):
            if number in rejected:
                self._check_rejected(kind, value, rejected[number])
                assert not plainly_fits(value, kind), f"{value!r} was rejected by {kind}: {rejected[number][1]}"
            else:
                expected = becomes(value, kind)
                assert equal(expected, loaded[number], kind), f"{value!r} became {loaded[number]!r}"

    def _check_rejected(self, kind: str, value: Any, kept: tuple[Any, ...]) -> None:
        _, column, _ = SHAPES[kind]
        name, reason, storage, raw, row = kept
        assert (name, storage, raw) == (column, storage_class(value), raw_form(value))
        assert reason
        assert identical(row[column], value)


def plainly_fits(value: Any, kind: str) -> bool:
    """Tell whether a value is of its column's own kind, so that nothing could excuse a rejection."""
    if value is None or kind == "bigint":
        return value is None or isinstance(value, int)
    if kind == "double precision":
        return isinstance(value, float)
    if kind == "boolean":
        return value in (0, 1)
    if not isinstance(value, Text):
        return False
    try:
        return becomes(value, kind) is not None and kind in ("text", "jsonb")
    except Impossible:
        return False


@pytest.fixture
def trial(shared_database: Settings, tmp_path: Path) -> Iterator[Trial]:
    """A trial in an emptied database."""
    with Trial.on(shared_database, tmp_path, jobs=1, unmapped=True) as trial:
        yield trial


REJECTED = object()
INFINITY = float("inf")


def at(*moment: int) -> datetime:
    """Return an instant in UTC."""
    return datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type,misc]


def t(text: str) -> Text:
    """Return TEXT."""
    return Text(text.encode())


CASES: dict[str, list[tuple[Any, Any]]] = {
    "bigint": [
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (5.0, 5),
        (-0.0, 0),
        (5.5, REJECTED),
        (9.3e18, REJECTED),
        (INFINITY, REJECTED),
        (t("12"), REJECTED),
        (t("fast"), REJECTED),
        (t(""), REJECTED),
        (b"12", REJECTED),
        (b"", REJECTED),
    ],
    "double precision": [
        (0.1, 0.1),
        (-0.0, -0.0),
        (INFINITY, INFINITY),
        (-INFINITY, -INFINITY),
        (5e-324, 5e-324),
        (2.2250738585072011e-308, 2.2250738585072011e-308),
        (1.7976931348623157e308, 1.7976931348623157e308),
        (7, 7.0),
        (2**53, 2.0**53),
        (2**53 + 1, REJECTED),
        (2**63 - 1, REJECTED),
        (-(2**63), -(2.0**63)),
        (t("0.5"), REJECTED),
        (t("NaN"), REJECTED),
        (b"\0\0\0\0\0\0\xf0\x3f", REJECTED),
    ],
    "text": [
        (t(""), ""),
        (t("\t\n\r\\N"), "\t\n\r\\N"),
        (t("\\N"), "\\N"),
        (t("\\."), "\\."),
        (t("NULL"), "NULL"),
        (t("a,b;\"c\" 'd' {e} %s %(f)s"), "a,b;\"c\" 'd' {e} %s %(f)s"),
        (t("상담 🙂 \U0001f468‍👩‍👧 \u202e"), "상담 🙂 \U0001f468‍👩‍👧 \u202e"),
        (t("\ufeffBOM"), "\ufeffBOM"),
        (t("\x01\x7f\x85\ufffe\U0010ffff"), "\x01\x7f\x85\ufffe\U0010ffff"),
        (t("e\u0301"), "e\u0301"),
        (t("nul\0inside"), REJECTED),
        (t("\0"), REJECTED),
        (Text(b"\xff\xfe"), REJECTED),
        (Text(b"cut \xec\x83"), REJECTED),
        (Text(b"\xed\xa0\x80"), REJECTED),
        (Text(b"\xc0\x80"), REJECTED),
        (Text(b"\xf4\x90\x80\x80"), REJECTED),
        (b"bytes", REJECTED),
        (b"", REJECTED),
        (7, "7"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
    ],
    "boolean": [
        (0, False),
        (1, True),
        (1.0, True),
        (t("true"), True),
        (t("FALSE"), False),
        (7, REJECTED),
        (-1, REJECTED),
        (0.5, REJECTED),
        (t("1"), REJECTED),
        (t("yes"), REJECTED),
        (b"\x01", REJECTED),
    ],
    "timestamp with time zone": [
        (t("2024-05-01 10:00:00"), at(2024, 5, 1, 10)),
        (t("2024-05-01T10:00:00.123456"), at(2024, 5, 1, 10, 0, 0, 123456)),
        (t("2024-05-01 10:00:00.5"), at(2024, 5, 1, 10, 0, 0, 500000)),
        (t("2024-05-01 10:00:00.1234560"), at(2024, 5, 1, 10, 0, 0, 123456)),
        (t("2024-05-01 10:00:00.1234567"), REJECTED),
        (t("2024-05-01T10:00:00+09:00"), at(2024, 5, 1, 1)),
        (t("2024-05-01 10:00:00-0330"), at(2024, 5, 1, 13, 30)),
        (t("2024-05-01T10:00:00Z"), at(2024, 5, 1, 10)),
        (t("2024-05-01T10:00:00+24:00"), REJECTED),
        (t("2024-05-01"), at(2024, 5, 1)),
        (t("2024-05-01 10:00"), at(2024, 5, 1, 10)),
        (t("2024-02-29 00:00:00"), at(2024, 2, 29)),
        (t("2023-02-29 00:00:00"), REJECTED),
        (t("2024-02-30 10:00:00"), REJECTED),
        (t("2024-13-01 10:00:00"), REJECTED),
        (t("2024-00-10 10:00:00"), REJECTED),
        (t("2024-05-01 24:00:00"), REJECTED),
        (t("2024-05-01 23:59:60"), REJECTED),
        (t("0000-01-01 00:00:00"), REJECTED),
        (t("0001-01-01 00:00:00"), at(1, 1, 1)),
        (t("0001-01-01 00:00:00+01:00"), REJECTED),
        (t("9999-12-31 23:59:59.999999"), at(9999, 12, 31, 23, 59, 59, 999999)),
        (t("9999-12-31 23:59:59-01:00"), REJECTED),
        (t("10000-01-01 00:00:00"), REJECTED),
        (t("9" * 5000 + "-01-01"), REJECTED),
        (t("12024-05-01 10:00:00"), REJECTED),
        (t("99999-12-31"), REJECTED),
        (t("00000-01-01 00:00:00"), REJECTED),
        (t("2024-06-31"), REJECTED),
        (t("2024-05-01T24:00:00Z"), REJECTED),
        (t("2016-12-31 23:59:60Z"), REJECTED),
        (t("2024-05-01 오전 10:00:00"), REJECTED),
        (t("2024-05-01 오후 3:00:00"), REJECTED),
        (t("2024. 5. 1. 오전 12:00:00"), REJECTED),
        (t("2024년 5월 1일 10시"), REJECTED),
        (t("2024-05-01 03:00:00 PM"), REJECTED),
        (t("2024-05-01 10:00:00 KST"), REJECTED),
        (t("2024-05-01 10:00:00\ufeff"), REJECTED),
        (t("-2024-05-01 10:00:00"), REJECTED),
        (t("2024-05-01 10:00:00 "), REJECTED),
        (t("24-05-01 10:00:00"), REJECTED),
        (t("24-05-01"), REJECTED),
        (t("\ufeff2024-05-01 10:00:00"), REJECTED),
        (t("２０２４-05-01 10:00:00"), REJECTED),
        (t("2024-05-01 10:00:00\0"), REJECTED),
        (t("2024-05-01 10:00:00\n"), REJECTED),
        (t("infinity"), REJECTED),
        (t("now"), REJECTED),
        (t(""), REJECTED),
        (1714557600, at(2024, 5, 1, 10)),
        (1714557600000, at(2024, 5, 1, 10)),
        (1714557600.25, at(2024, 5, 1, 10, 0, 0, 250000)),
        (1714557600123, at(2024, 5, 1, 10, 0, 0, 123000)),
        (20240501093000, at(2024, 5, 1, 9, 30)),
        (20240501093000.0, at(2024, 5, 1, 9, 30)),
        (t("20240501093000"), at(2024, 5, 1, 9, 30)),
        (202405010930, at(2024, 5, 1, 9, 30)),
        (20240501, at(2024, 5, 1)),
        (t("20991231"), at(2099, 12, 31)),
        (t("1714557600"), at(2024, 5, 1, 10)),
        (20240501093000.5, REJECTED),
        (20240230093000, REJECTED),
        (19890501093000, REJECTED),
        (21010101, REJECTED),
        (240501093000, REJECTED),
        (90501093000, REJECTED),
        (2024050109, REJECTED),
        (2405010930, REJECTED),
        (200102030405, REJECTED),
        (1712310959, REJECTED),
        (700101000000, REJECTED),
        (240501, REJECTED),
        (-20240501, REJECTED),
        (100_000_000, REJECTED),
        (4_102_444_800_001 * 2, REJECTED),
        (2024, REJECTED),
        (2460431.9166667, REJECTED),
        (0, REJECTED),
        (2**63 - 1, REJECTED),
        (INFINITY, REJECTED),
        (-INFINITY, REJECTED),
        (b"2024-05-01 10:00:00", REJECTED),
    ],
    "date": [
        (t("2024-05-01"), date(2024, 5, 1)),
        (t("0001-01-01"), date(1, 1, 1)),
        (t("9999-12-31"), date(9999, 12, 31)),
        (t("2024-05-01 00:00:00"), date(2024, 5, 1)),
        (t("2024-05-01 10:00:00"), REJECTED),
        (t("2024-02-30"), REJECTED),
        (t("0000-01-01"), REJECTED),
        (t("10000-01-01"), REJECTED),
        (t("8" * 5000 + "-01-01"), REJECTED),
        (t("01/05/2024"), REJECTED),
        (t("2024-06-31"), REJECTED),
        (t("2024-05-01 오전 12:00:00"), REJECTED),
        (t("2024-05-01 24:00:00"), REJECTED),
        (t("2024년 5월 1일"), REJECTED),
        (t("\ufeff2024-05-01"), REJECTED),
        (t("12024-05-01"), REJECTED),
        (20240501, date(2024, 5, 1)),
        (t("20240501"), date(2024, 5, 1)),
        (20240501.0, date(2024, 5, 1)),
        (20240230, REJECTED),
        (18991231, REJECTED),
        (20240501093000, REJECTED),
        (1714557600, REJECTED),
        (INFINITY, REJECTED),
        (b"2024-05-01", REJECTED),
    ],
    "jsonb": [
        (t('{"a": [1, 2.50, "셋"], "b": {"c": null}}'), '{"a": [1, 2.50, "셋"], "b": {"c": null}}'),
        (t(" [ ] "), "[]"),
        (t("12345678901234567890.123456789012345678901"), "12345678901234567890.123456789012345678901"),
        (t('"\\ud83d\\ude42"'), '"🙂"'),
        (t('"\\\\u0000"'), '"\\\\u0000"'),
        (t("not json"), '"not json"'),
        (t(""), '""'),
        (t("NaN"), '"NaN"'),
        (t("[Infinity]"), '"[Infinity]"'),
        (t('{"a": NaN}'), '"{\\"a\\": NaN}"'),
        (t('{"a": 1, "a": 2}'), '"{\\"a\\": 1, \\"a\\": 2}"'),
        (t('{"a": "\\u0000"}'), '"{\\"a\\": \\"\\\\u0000\\"}"'),
        (t('"\\ud800"'), '"\\"\\\\ud800\\""'),
        (t('{"\\udc00": 1}'), '"{\\"\\\\udc00\\": 1}"'),
        (t("\ufeff{}"), '"\ufeff{}"'),
        (t("1e400"), "1" + "0" * 400),
        (t("1e99999"), '"1e99999"'),
        (t("1e9999999999999999999"), '"1e9999999999999999999"'),
        (t("-1e-9999999999999999999"), '"-1e-9999999999999999999"'),
        (t("0." + "1" * 20000), '"0.' + "1" * 20000 + '"'),
        (t("[" * 20000 + "]" * 20000), '"' + "[" * 20000 + "]" * 20000 + '"'),
        (t("[{" * 5000 + "}]" * 5000), '"' + "[{" * 5000 + "}]" * 5000 + '"'),
        (t('{"x": [1e400, -1e-400]}'), '{"x": [1' + "0" * 400 + ", -0." + "0" * 399 + "1]}"),
        (t('[{"k": 1, "k": 1}]'), '"[{\\"k\\": 1, \\"k\\": 1}]"'),
        (t('{"k": 1, "\\u006b": 2}'), '"{\\"k\\": 1, \\"\\\\u006b\\": 2}"'),
        (t("[1]\ufeff"), '"[1]\ufeff"'),
        (t("{'a': 1}"), "\"{'a': 1}\""),
        (t('{"a":"x\0y"}'), REJECTED),
        (Text(b'{"a":"\xff"}'), REJECTED),
        (7, '"7"'),
        (0.5, '"0.5"'),
        (b"{}", REJECTED),
    ],
}  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize("kind", CASES)
def test_every_value_has_its_outcome(kind: str, trial: Trial) -> None:
    """What is written down beside each value is what becomes of it: this value in PostgreSQL, or a rejected row."""
    values = [value for value, _ in CASES[kind]]
    trial.write_values(kind, values)
    outcome = trial.load()
    loaded, rejected = trial.loaded(kind), trial.rejected_values()
    for number, (value, expected) in enumerate(CASES[kind], 1):
        shown = repr(value)[:80]
        if expected is REJECTED:
            assert number in rejected, f"{shown} was loaded as {loaded[number]!r}"
        elif kind == "jsonb":
            assert document(loaded[number]) == document(expected), shown
        else:
            assert number in loaded, f"{shown} was rejected: {rejected[number][1]}"
            assert equal(expected, loaded[number], kind), f"{shown} became {loaded[number]!r}"
    trial.check(kind, values)
    assert outcome.exit_code == 3


@pytest.mark.parametrize("kind", CASES)
def test_inspect_predicts_what_import_does(kind: str, trial: Trial) -> None:
    """The rows that inspect announces as rejected are those that import rejects."""
    trial.write_values(kind, [value for value, _ in CASES[kind]])
    profile = inspect_file(trial.file, trial.options, quiet)
    trial.load()
    assert sum(one.rows for one in profile.findings if one.rejected) == len(trial.rejected_values())


NORMALISED = [
    ("bigint", 5.0, "real_to_integer"),
    ("text", 7, "number_to_text"),
    ("boolean", 1.0, "real_to_boolean"),
    ("boolean", t("True"), "text_to_boolean"),
    ("timestamp with time zone", t("2024-05-01T10:00:00+09:00"), "offset_to_instant"),
    ("timestamp with time zone", t("2024-05-01"), "date_to_timestamp"),
    ("timestamp with time zone", t("2024-05-01 10:00"), "minutes_to_timestamp"),
    ("timestamp with time zone", 20240501093000, "digits_to_timestamp"),
    ("timestamp with time zone", 1714557600, "epoch_seconds"),
    ("timestamp with time zone", 1714557600000, "epoch_milliseconds"),
    ("date", t("2024-05-01 00:00:00"), "midnight_to_date"),
    ("date", 20240501, "digits_to_date"),
    ("jsonb", t("not json"), "text_to_json_string"),
    ("jsonb", 7, "number_to_json_string"),
]


@pytest.mark.parametrize(("kind", "value", "name"), NORMALISED, ids=lambda value: str(value)[:20])
def test_another_form_of_the_same_value_is_counted_by_name(kind: str, value: Any, name: str, trial: Trial) -> None:
    """Nothing is changed silently: each normalisation has a name, a count and an example."""
    trial.write_values(kind, [value, None, value])
    outcome = trial.load()
    assert outcome.exit_code == 0
    assert [(one.normalisation, one.rows, one.example_rowid) for one in outcome.normalisations] == [(name, 2, 1)]


def test_a_zone_is_where_timestamps_without_offset_were_written(trial: Trial) -> None:
    """In Asia/Seoul ten o'clock is one o'clock UTC; an offset still wins, and an hour that was skipped is refused."""
    kind = "timestamp with time zone"
    values = ["2024-05-01 10:00:00", "2024-05-01 10:00:00Z", "2024-05-01", "1988-05-08 02:30:00", "1988-10-09 02:30:00"]
    trial.write_values(kind, [*map(t, values), 20240501100000, 1714557600])
    trial.load("Asia/Seoul")
    moments = {1: at(2024, 5, 1, 1), 2: at(2024, 5, 1, 10), 3: at(2024, 4, 30, 15)}
    assert trial.loaded(kind) == moments | {6: at(2024, 5, 1, 1), 7: at(2024, 5, 1, 10)}
    assert set(trial.rejected_values()) == {4, 5}


def test_a_zone_s_rules_hold_after_its_tables_end(trial: Trial) -> None:
    """Daylight saving time in New York is an hour in 2099 as in 2024, on the fast path and off it."""
    kind = "timestamp with time zone"
    values = ["2024-07-01 12:00:00", "2099-07-01 12:00:00", "2099-01-01 12:00:00", "2099-07-01 12:00"]
    trial.write_values(kind, [t(value) for value in values])
    trial.load("America/New_York")
    assert [moment.hour for _, moment in sorted(trial.loaded(kind).items())] == [16, 16, 17, 16]


def test_a_hundred_megabytes_of_text_arrive(trial: Trial, tmp_path: Path) -> None:
    """A value of 100 MB arrives character by character, also where it is searched and indexed."""
    size = 100_000_000
    with closing(sqlite3.connect(trial.file)) as sqlite, sqlite:
        sqlite.execute("create table utterances (id integer primary key, audio_path text, speaker text, text text)")
        sqlite.execute(
            "insert into utterances values (1, hex(randomblob(5000)), '고객', ?)", ("상담 🙂 " * (size // 12),)
        )
        (length,) = sqlite.execute("select length(text) from utterances").fetchone()
    assert trial.load().exit_code == 0
    assert trial.all("select id, length(text) from utterances") == [(1, length)]


def test_a_rejected_row_of_any_size_is_kept(trial: Trial) -> None:
    """A row beyond what one jsonb string can hold (256 MB) is not lost when it is rejected either."""
    trial.write_values("text", [b"\xff" * 140_000_000, t("small")])
    assert trial.load().exit_code == 3
    assert trial.all("select length(raw) from imports.rejected") == [(140_000_000,)]


CONSTRAINED = {
    "CHECK list": "insert into analysis_history (session_id, analysis_type, status) values (1, 'llm', 'lost')",
    "NOT NULL": "insert into analysis_history (session_id, analysis_type) values (1, 'llm')",
    "CHECK range": "insert into quality_metrics values (null, 1, 'm', 0.5, 1.5)",
    "unique": "insert into business_type_codes (code, name) values ('same', 'one'), ('same', 'two')",
    "unique, NULLs aside": "insert into agent_accounts (username, email, password_hash) "
    "values ('a', 'x', 'h'), ('b', 'x', 'h'), ('c', null, 'h'), ('d', null, 'h')",
    "key too long": "insert into agent_accounts (username, password_hash) values (hex(randomblob(9000)), 'h')",
    "unique over two": "insert into agent_team_memberships (agent_id, team_id) values (1, 1), (1, 2), (1, 1)",
}
LAX = """
create table analysis_history (id integer primary key, session_id, analysis_type, status);
create table quality_metrics (id integer primary key, session_id, metric_name, metric_value, weight);
create table business_type_codes (id integer primary key, code, name);
create table agent_accounts (id integer primary key, username, email, password_hash);
create table agent_team_memberships (id integer primary key, agent_id, team_id);
"""


@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_a_row_that_a_constraint_refuses_is_kept_whole(constraint: str, trial: Trial) -> None:
    """Exactly one row is refused, with PostgreSQL's reason and without a value in it; its neighbours are loaded."""
    statement = CONSTRAINED[constraint]
    with closing(sqlite3.connect(trial.file)) as sqlite:
        sqlite.executescript(LAX + statement)
        sqlite.row_factory = sqlite3.Row
        table = statement.split()[2]
        source = [dict(row) for row in sqlite.execute(f"select * from {table}")]
    with trial.connection.cursor() as cursor:
        cursor.execute("truncate quality_metrics, agent_accounts, agent_team_memberships cascade")
    outcome = trial.load()
    assert outcome.exit_code == 3
    [(rowid, (name, reason, storage, raw, row))] = trial.rejected_values().items()
    assert (name, storage, raw) == (None, None, None)
    assert len(reason) < 200
    found = {key: value.decode() if isinstance(value, bytes) else value for key, value in row.items()}
    assert found == next(one for one in source if one["id"] == rowid)
    assert trial.all(f"select count(*) from {table}") == [(len(source) - 1,)]


def test_one_refused_row_among_many(trial: Trial) -> None:
    """Among five thousand rows the two refused ones are found, and only they."""
    with closing(sqlite3.connect(trial.file)) as sqlite, sqlite:
        sqlite.executescript(LAX)
        rows = [(n, 1, "llm", "lost" if n in (17, 4711) else "completed") for n in range(1, 5001)]
        sqlite.executemany("insert into analysis_history values (?, ?, ?, ?)", rows)
    assert trial.load().exit_code == 3
    assert set(trial.rejected_values()) == {17, 4711}
    assert trial.all("select count(*) from analysis_history") == [(4998,)]


def test_contents_are_in_no_reason(trial: Trial) -> None:
    """What a caller said is in no reason and no error, whatever is wrong with it."""
    secret = "my card number is 4111"
    for kind in CASES:
        trial.write_values(kind, [t(secret), Text(secret.encode() + b"\xff"), t(secret + "\0"), secret.encode()])
        outcome = trial.load()
        assert "card number" not in repr(outcome)
        assert not [reason for _, reason, *_ in trial.rejected_values().values() if "card number" in reason]


def test_utf_16_files_arrive_unchanged(trial: Trial) -> None:
    """A database that keeps its text as UTF-16 holds the same text."""
    with closing(sqlite3.connect(trial.file)) as sqlite, sqlite:
        sqlite.execute("pragma encoding = 'UTF-16le'")
        sqlite.execute(
            "create table audio_files (id integer primary key, file_path, file_name, processing_status, error_message)"
        )
        sqlite.execute(
            "insert into audio_files values (1, '/상담', '고객🙂', 'pending', ''), (2, '/b', 'b', 'pending', x'00')"
        )
    assert trial.load().exit_code == 3
    assert trial.all("select file_path, file_name, error_message from audio_files") == [("/상담", "고객🙂", "")]


integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.integers(10**8, 10**14)
floats = st.floats(allow_nan=False) | integers.filter(lambda n: abs(n) < 2**62).map(float)
characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
digits = st.integers(0, 10001).map("{:04}".format)
moments = st.builds(
    "{}-{}-{}{}{}{}".format,
    digits,
    st.integers(0, 13).map("{:02}".format),
    st.integers(0, 32).map("{:02}".format),
    st.sampled_from(["", " 10:00", "T23:59:59", " 00:00:00", " 24:00:00", " 10:00:60", " 1:2:3"]),
    st.sampled_from(["", "", ".5", ".123456", ".1234567", ".0000000", "."]),
    st.sampled_from(["", "", "Z", "+09:00", "-0330", "+23:59", "+24:00", " +01:00", "+9"]),
)
instants = st.datetimes().map(lambda moment: moment.isoformat(" "))
scalars = st.none() | st.booleans() | integers | floats | characters


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return lists and objects of documents."""
    return st.lists(inner, max_size=3) | st.dictionaries(characters, inner, max_size=3)


documents = st.recursive(scalars, containers)
texts = st.one_of(
    characters,
    moments,
    instants,
    st.dates().map(str),
    documents.map(json.dumps),
    documents.map(lambda one: json.dumps(one, ensure_ascii=False)),
    st.sampled_from(
        ["true", "FALSE", "0", "1", "", "\\N", "\\.", "\ufeff", "NaN", '{"a":1,"a":1}', '"\\u0000"', '"\\udead"']
    ),
    characters.map(lambda text: text + "\0"),
).map(lambda text: Text(text.encode()))
anything = st.one_of(st.none(), integers, floats, texts, st.binary(max_size=12).map(Text), st.binary(max_size=12))

QUICK = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("kind", SHAPES)
def test_any_value_in_any_column(kind: str, trial: Trial) -> None:
    """Hundreds of random values of every storage class: loaded ones are equal, the others are kept byte by byte."""

    @QUICK
    @given(st.lists(anything, min_size=40, max_size=120))
    def values_arrive(values: list[Any]) -> None:
        trial.write_values(kind, values)
        trial.load()
        trial.check(kind, values)

    values_arrive()


def test_any_value_in_an_array(trial: Trial) -> None:
    """Thirteen columns become one array: equal bit by bit, NULL when all are, rejected when one can't be held."""

    @QUICK
    @given(st.lists(st.tuples(*[st.none() | floats | integers | texts] * 2), min_size=20, max_size=60))
    def arrays_arrive(pairs: list[tuple[Any, Any]]) -> None:
        trial.file.unlink(missing_ok=True)
        columns = ", ".join(f"mfcc_{number}" for number in range(1, 14))
        with closing(sqlite3.connect(trial.file)) as sqlite, sqlite:
            sqlite.execute(f"create table audio_properties (id integer primary key, file_path, file_name, {columns})")
            for number, (one, two) in enumerate(pairs, 1):
                marks = ["cast(? as text)" if isinstance(value, Text) else "?" for value in (one, two)]
                sqlite.execute(
                    f"insert into audio_properties (id, file_path, file_name, mfcc_2, mfcc_13) values (?, '/p', "
                    f"'f', {', '.join(marks)})",
                    (number, one, two),
                )
        trial.load()
        check_arrays(trial, pairs)

    arrays_arrive()


def check_arrays(trial: Trial, pairs: list[tuple[Any, Any]]) -> None:
    """Compare arrays with the pairs they were made of."""
    arrays = dict(trial.all("select audio_file_id, mfcc from audio_features"))
    rejected = trial.rejected_values()
    for number, pair in enumerate(pairs, 1):
        try:
            wanted = [becomes(value, "double precision") for value in pair]
        except Impossible:
            assert number in rejected
            continue
        expected = None if wanted == [None, None] else [None, wanted[0], *[None] * 10, wanted[1]]
        assert bits(arrays[number]) == bits(expected)


def bits(array: list[float | None] | None) -> list[bytes | None] | None:
    """Return an array whose doubles compare bit by bit."""
    return None if array is None else [None if one is None else struct.pack(">d", one) for one in array]


def test_any_value_in_an_unmapped_table(trial: Trial) -> None:
    """Unmapped rows keep every value with its storage class."""

    @QUICK
    @given(st.lists(st.tuples(anything, anything), min_size=20, max_size=60))
    def rows_are_kept(pairs: list[tuple[Any, Any]]) -> None:
        trial.file.unlink(missing_ok=True)
        with closing(sqlite3.connect(trial.file)) as sqlite, sqlite:
            sqlite.execute('create table "select" ("from", "a""b")')
            for pair in pairs:
                marks = ["cast(? as text)" if isinstance(value, Text) else "?" for value in pair]
                sqlite.execute(f'insert into "select" values ({", ".join(marks)})', pair)
        assert trial.load().exit_code == 0
        kept = dict(trial.all("select source_rowid, source_row::text from imports.unmapped"))
        assert len(kept) == len(pairs)
        for number, (one, two) in enumerate(pairs, 1):
            row = decoded_row(kept[number])
            assert set(row) == {"from", 'a"b'}
            assert identical(row["from"], one)
            assert identical(row['a"b'], two)

    rows_are_kept()


def test_verify_agrees_any_time_later(trial: Trial) -> None:
    """The dirtiest file verifies again after its import, from the file itself."""
    trial.write_values("text", [value for value, _ in CASES["text"]])
    trial.load()
    outcome = trial.verify()
    assert (outcome.exit_code, outcome.differences) == (3, [])
