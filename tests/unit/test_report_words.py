"""The completion report's words: both languages say everything, and figures read well."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from callytics.importer.records.entries import TableSummary
from callytics.report.facts import Import
from callytics.report.recorded import CommitEntry, RunEntry, StepEntry
from callytics.report.words import Words

ENGLISH, KOREAN = Words("en"), Words("ko")
HANGUL = re.compile(r"[가-힣]")


def fields(text: str) -> set[str]:
    """Return what is filled into a text."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_say_the_same() -> None:
    """Every text is there in both, with the same values to fill in."""
    english, korean = ENGLISH.texts, KOREAN.texts
    assert english.keys() == korean.keys()
    for name, text in english.items():
        if isinstance(text, str):
            assert fields(text) == fields(korean[name]), name
    for group in ("counted", "normalisation"):
        assert english[group].keys() == korean[group].keys()


def test_korean_is_korean() -> None:
    """No text was left in English, but for names."""
    names = {
        "figure_tables",
        "sha256",
        "some",
        "partitions",
        "period",
        "moment",
        "sync_ours",
        "sync_theirs",
        "milliseconds",
    }
    texts = {name: text for name, text in KOREAN.texts.items() if isinstance(text, str)}
    assert {name for name, text in texts.items() if not HANGUL.search(text)} == names
    assert not HANGUL.search(str(ENGLISH.texts))


REASONS = (
    "text value in a bigint column",
    "number is neither 0 nor 1",
    "impossible date or time: day is out of range for month",
    'duplicate key value violates unique constraint "audio_files_pkey"',
    "another row has the same username",
    "another row has the same classification_type_code, code, and another name",
    "the same row is there already",
    'new row for relation "transcriptions_2024_05" violates check constraint "transcriptions_id_check"',
    "local time is ambiguous or does not exist in Asia/Seoul (clock change)",
)


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_are_translated(reason: str) -> None:
    """A reason that is known reads as Korean; English stays as it was recorded."""
    assert ENGLISH.reason(reason) == reason
    assert HANGUL.search(KOREAN.reason(reason))


def test_an_unknown_reason_stays_as_it_was_recorded() -> None:
    """Braces in it are no places to fill in."""
    assert KOREAN.reason("something {new}") == "something {new}"
    assert KOREAN.normalisation("something_new") == "something_new"


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (None, "–", "–"),
        (0.0412, "41 ms", "41 ms"),
        (0.9996, "1.0 s", "1.0초"),
        (59.96, "1 min 0 s", "1분 0초"),
        (252, "4 min 12 s", "4분 12초"),
        (3599.7, "1 h 0 min", "1시간 0분"),
        (12_000, "3 h 20 min", "3시간 20분"),
    ],
)
def test_durations(seconds: float | None, english: str, korean: str) -> None:
    assert (ENGLISH.seconds(seconds), KOREAN.seconds(seconds)) == (english, korean)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (999_600, "1.0 MB"),
        (206_400_000, "206 MB"),
        (-8192, "-8.2 kB"),
        (5 * 10**18, "5,000 PB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert ENGLISH.bytes(size) == text


def test_numbers_have_their_nouns() -> None:
    assert [ENGLISH.count("row", number) for number in (0, 1, 1234)] == ["0 rows", "1 row", "1,234 rows"]
    assert KOREAN.count("row", 1234) == "1,234개 행"
    assert ENGLISH.rate(10, None) == "–"


def test_moments_are_in_utc() -> None:
    seoul = datetime(2026, 3, 1, 8, 5, tzinfo=timezone(timedelta(hours=9)))
    assert ENGLISH.moment(seoul) == "28 February 2026, 23:05:00 UTC"
    assert KOREAN.moment(seoul) == "2026년 2월 28일 23:05:00 UTC"


START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Return a moment so many seconds after the import began."""
    return START + timedelta(seconds=seconds)


def step(kind: str, start: float, end: float, name: str = "", table: int | None = None) -> StepEntry:
    """Return a row of imports.steps."""
    return StepEntry(kind, table, name, at(start), at(end))


def imported(finished: float | None, steps: list[StepEntry], load: tuple[float, float], **other: Any) -> Import:
    """Return an import of one table."""
    table = TableSummary(
        id=1, source_id=1, path="calls.sqlite", source_table="calls", target_table="calls", mapping=None,
        unmapped_columns=None, id_offset=0, readings=None, source_rows=100, loaded=100, rejected=0, shared=0, erased=0,
        verified_rows=None,
        different_rows=None, started_at=at(load[0]), loaded_at=at(load[1]), verified_at=None, seconds=load[1] - load[0],
    )  # fmt: skip
    run = RunEntry(1, "verified", "1", "UTC", at(0), None if finished is None else at(finished))
    names = (
        "sources",
        "rejects",
        "normalisations",
        "not_validated",
        "definitions",
        "sizes",
        "syncs",
        "chunks",
        "zone_changes",
    )
    lists: dict[str, Any] = {name: [] for name in names}
    return Import(**({"run": run, "tables": [table], "steps": steps} | lists | other))


def test_phases_follow_from_what_was_recorded() -> None:
    """Work side by side is counted once in a phase; a phase lasts from its first step to its last."""
    steps = [
        step("snapshot", 0, 2),
        step("index", 5, 8, "one_idx"),
        step("index", 6, 9, "two_idx"),
        step("foreign key", 11, 12, "a_fkey"),
        step("verify", 12, 14, "calls", 1),
    ]
    found = imported(15, steps, (2, 5))
    assert found.seconds == 15
    phases = {phase: (span.start, span.end, busy) for phase, (span, busy) in found.phases.items()}
    assert phases == {"snapshot": (0, 2, 2), "load": (2, 5, 3), "build": (5, 12, 5), "verify": (12, 14, 2)}
    assert [(lane.name, lane.total) for lane in found.lanes] == [
        ("snapshot", 2), ("calls", 5), ("index", 6), ("foreign key", 1),
    ]  # fmt: skip


def test_rows_of_tables_without_a_place_are_counted_apart() -> None:
    """So that the rows in PostgreSQL, these and the rejected ones are those of SQLite."""
    found = imported(15, [], (2, 5))
    (table,) = found.tables
    kept = replace(table, source_table="notes", target_table="imports.unmapped", source_rows=3, loaded=3)
    columns = replace(table, target_table="imports.unmapped", source_rows=100, loaded=100)
    found = imported(15, [], (2, 5), tables=[table, kept, columns])
    assert (found.source_rows, found.loaded, found.unmapped) == (103, 100, 3)


def test_the_night_in_which_an_import_lay_dead_is_left_out() -> None:
    """Killed at second 4, resumed ten hours later: it took 10 seconds."""
    hours = 36_000
    steps = [step("snapshot", 0, 2), step("resume", hours, hours), step("verify", hours + 3, hours + 5, "calls", 1)]
    chunks = [CommitEntry(at(4), 40), CommitEntry(at(hours + 1), 60)]
    found = imported(hours + 6, steps, (2, hours + 3), chunks=chunks)
    assert found.resumed == 1
    assert found.seconds == 10
    assert found.phases["load"][0].seconds == 5
    assert found.progress == [(0, 0), (2, 40), (3, 100)]


def test_a_verification_weeks_later_is_no_part_of_the_import() -> None:
    steps = [step("verify", 4, 5, "calls", 1), step("verify", 900_000, 900_007, "calls", 1)]
    found = imported(6, steps, (0, 3))
    assert found.phases["verify"][0].seconds == 1
    assert found.seconds == 6


def test_an_unfinished_import_has_no_duration() -> None:
    assert imported(None, [step("snapshot", 0, 2)], (2, 5)).seconds is None
