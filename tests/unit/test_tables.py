"""Lines and tables fit the terminal, whatever letters are in them, and lose nothing."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callytics.cli.terminal.tables import Table, clipped, fitted, table_lines, terminal_width, width, wrapped
from tests.support.terminal import places, terminal

KOREAN = "상담품질평가결과요약및개선제안내역전체기간부서별통계현황표본"
LONG = "a" * 63
NAMES = {
    "short": "audio_files",
    "of the schema": "communication_quality_details",
    "63 bytes": LONG,
    "63 bytes with joints": "a_very_long_name_of_a_table_that_somebody_made_for_one_purpose_",
    "thirty Korean letters": KOREAN,
    "letter by letter": "\u1112\u1161\u11ab\u1100\u1173\u11af" * 6,
    "with marks": "e\u0301" * 40,
    "a family": "👨\u200d👩\u200d👧" * 3,
    "in colour": "❤\ufe0f" * 12,
    "full-width": "ＡＢＣ" * 9,
    "a sentence": "imports.unmapped; no table of this kind is known, so each row is kept there as it is",
}
# A head that is as wide as its figures, so that the test can tell what stands below which.
HEAD = ("table", "goes to", "rows so far", "rejected")


def packed(lines: list[str] | str) -> str:
    return "".join("".join(lines).split())


def test_columns_are_aligned_whatever_letters_are_in_them() -> None:
    """A Korean letter takes two places of a terminal, a combining mark none."""
    lines = list(table_lines(Table(("table", "rows"), [("통화", "1"), ("e\u0301t", "12")], right={1})))
    assert lines == ["table  rows", "통화      1", "e\u0301t       12"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("통화", 4), ("\u1112\u1161\u11ab", 2), ("e\u0301", 1), ("Ａ", 2), ("❤\ufe0f", 2), ("한\u200d", 2)],
)
def test_a_letter_takes_as_many_places_as_a_terminal_gives_it(text: str, columns: int) -> None:
    assert width(text) == columns


def column_of(lines: list[str], head: str) -> str:
    """Return what stands below a head of a wrapped table, up to the next head, with white space left out."""
    at = lines[0].index(head)
    following = [lines[0].index(name) for name in HEAD if name in lines[0] and lines[0].index(name) > at]
    end = min(following, default=10_000)
    taken = []
    for line in lines[1:]:
        place = 0
        for letter in line:
            if at <= place < end:
                taken.append(letter)
            place += width(letter)
    return packed("".join(taken))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("columns", [30, 40, 60, 80, 120])
def test_a_table_fits_and_loses_nothing(name: str, columns: int) -> None:
    """Wrapped inside its columns or stacked; figures are never broken."""
    table = Table(HEAD, [("audio_files", name, "1,234,567", "0"), (name, "utterances", "8", "12")], {2, 3}, {3})
    lines = list(table_lines(table, columns))
    assert [line for line in lines if places(line) > columns] == []
    assert any("1,234,567" in line for line in lines)
    if lines[0].startswith("table"):
        assert column_of(lines, "table") == packed(["audio_files", name])
        assert column_of(lines, "goes to") == packed([name, "utterances"])
    else:
        stacked = ["audio_files", "goes to", name, "rows so far 1,234,567", "rejected 0"]
        assert packed(lines) == packed([*stacked, name, "goes to utterances", "rows so far 8", "rejected 12"])


def test_a_table_that_fits_is_as_in_a_pipe() -> None:
    table = Table(HEAD, [("a", "b", "1", "2")], {2, 3}, {3})
    assert list(table_lines(table, 80)) == list(table_lines(table))


def test_columns_that_say_nothing_are_left_out_at_a_terminal() -> None:
    """Of those that may be; a pipe has all of them."""
    table = Table((*HEAD, "note"), [("a", "b", "0", "0", ""), ("c", "d", "0", "0", "")], {2, 3}, {3, 4})
    assert list(table_lines(table, 80)) == [
        "table  goes to  rows so far",
        "a      b                  0",
        "c      d                  0",
    ]
    assert next(table_lines(table)) == "table  goes to  rows so far  rejected  note"
    one = Table(HEAD, [("a", "b", "0", "0"), ("c", "d", "0", "1")], {2, 3}, {3})
    assert "rejected" in next(table_lines(one, 80))


def test_names_wrap_at_their_joints_below_their_head() -> None:
    table = Table(("table", "goes to", "rows"), [("communication_quality_details", "utterances", "1,378")], {2})
    assert list(table_lines(table, 40)) == [
        "table              goes to      rows",
        "communication_     utterances  1,378",
        "  quality_details",
    ]


def test_rows_are_stacked_where_columns_would_be_slivers() -> None:
    table = Table(("name", "department", "state", "permissions"), [("minsu", "", "active", "analysis_view:write")])
    assert list(table_lines(table, 30)) == [
        "minsu",
        "  state        active",
        "  permissions  analysis_view:",
        "                 write",
    ]


SENTENCES = {
    "error    privileges   callytics_user lacks SELECT on public.calls": (
        40,
        ["error    privileges   callytics_user", "  lacks SELECT on public.calls"],
    ),
    "    row 7: one two three four": (20, ["    row 7: one two", "      three four"]),
    "": (40, [""]),
    f"{LONG} is there": (40, ["a" * 40, f"  {'a' * 23} is there"]),
    "warning  autovacuum   The table is vacuumed less often than it should be": (
        60,
        ["warning  autovacuum   The table is vacuumed less often than", "                      it should be"],
    ),
}


@pytest.mark.parametrize(("text", "room", "lines"), [(text, *seen) for text, seen in SENTENCES.items()])
def test_a_sentence_is_broken_between_words(text: str, room: int, lines: list[str]) -> None:
    assert wrapped(text, room) == lines


@given(st.text("ab_.,/ 통화\u0301\u1161\u200d😀", max_size=200), st.integers(20, 100))
def test_any_line_fits_and_keeps_its_letters(text: str, room: int) -> None:
    lines = wrapped(text, room)
    # A mark has no width, however many there are.
    assert max(map(width, lines)) <= room
    assert packed(lines) == packed(text)


@given(st.text("ab 통화\u0301", max_size=60), st.integers(1, 40))
def test_a_clipped_text_fits_and_says_that_it_was_cut(text: str, room: int) -> None:
    seen = clipped(text, room)
    assert width(seen) <= room
    assert seen == text or (seen.endswith("…") and text.startswith(seen[:-1]))


@pytest.mark.parametrize(("told", "used"), [(80, 80), (40, 40), (0, 80), (5, 20)])
def test_the_width_is_the_terminals(told: int, used: int) -> None:
    """Of one that does not say, the usual; nothing is written for fewer than twenty columns."""
    with terminal(told) as lent:
        assert terminal_width(lent.slave) == used


def test_a_pipe_has_no_width() -> None:
    stream = io.StringIO()
    assert terminal_width(stream) is None
    assert list(fitted([f"{LONG} {LONG} {LONG}"], stream)) == [f"{LONG} {LONG} {LONG}"]
