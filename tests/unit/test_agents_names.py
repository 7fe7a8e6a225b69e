"""Names of accounts: which new ones are taken, and which names are the same."""

from __future__ import annotations

import unicodedata

import pytest

from callytics.agents.names import LONGEST, folded, looked_up, new_name
from callytics.exceptions import AgentError


@pytest.mark.parametrize(
    "name",
    [
        "kim",
        "Kim Min-su",
        "김민수",
        "김민수2",
        "kim김",
        "金民洙",
        "金民洙 (김민수)",
        "o'brien@callytics.example",
        "Zoë",
        "Łukasz",
        "Nguyễn",
        "Straße",
        "k" * LONGEST,
    ],
)
def test_names_that_people_have_are_taken_as_they_are(name: str) -> None:
    assert new_name(name) == name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("  kim ", "kim"),
        ("kim  min", "kim min"),
        ("ＫＩＭ７", "KIM7"),
        ("ﬁna", "fina"),
        (unicodedata.normalize("NFD", "김민수é"), "김민수é"),
    ],
)
def test_one_name_has_one_spelling(typed: str, name: str) -> None:
    assert new_name(typed) == name


@pytest.mark.parametrize(
    ("name", "character"),
    [
        ("аlice", "U+0430"),  # Cyrillic а
        ("сосо", "U+0441"),  # all of it Cyrillic
        ("ρaul", "U+03C1"),  # Greek ρ
        ("k\u0131m", "U+0131"),  # dotless i
        ("\u0251lice", "U+0251"),  # Latin alpha
        ("k\u0456m", "U+0456"),
        ("kimㅣ", "U+1175"),  # a Korean vowel alone
        ("ᄀim", "U+1100"),
        ("ロ民洙", "U+30ED"),  # Katakana ro, like 口
        ("kim٣", "U+0663"),
        ("ki\u0336m", "U+0336"),  # a mark that joins no letter
        ("kim⁂", "U+2042"),
        ("kim—lee", "U+2014"),
        ("Ꭺlice", "U+13AA"),  # Cherokee
    ],
)
def test_what_may_pass_for_another_character_is_refused_by_its_number(name: str, character: str) -> None:
    with pytest.raises(AgentError) as refusal:
        new_name(name)
    assert character in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("name", ["a丨ice", "kim金"])
def test_latin_and_chinese_letters_do_not_mix(name: str) -> None:
    with pytest.raises(AgentError, match="mixes Latin and Chinese"):
        new_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "  ", "k\0m", "ki\u200bm", "\u3164", "kim\u202e", "k\u00adim", "k\ufeffim", "kim\n\x07", "k" * 257, "ﷺ" * 20],
)
def test_what_cannot_be_seen_or_is_too_long_is_refused(name: str) -> None:
    with pytest.raises(AgentError):
        new_name(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Kim", "kIM"),
        ("STRASSE", "straße"),
        ("ＫＩＭ", "kim"),
        ("ΝΊΚΟΣ", "νίκος"),
        ("É", "e\u0301"),
        ("김민수", unicodedata.normalize("NFD", "김민수")),
        ("ﬁ", "FI"),
    ],
)
def test_names_that_read_alike_are_the_same(one: str, other: str) -> None:
    assert folded(one) == folded(other) == folded(folded(one))


@pytest.mark.parametrize(("one", "other"), [("kim", "kim1"), ("김", "긴"), ("kim", "k im"), ("kim", "kim ")])
def test_other_names_are_others(one: str, other: str) -> None:
    assert folded(one) != folded(other)


@pytest.mark.parametrize("text", ["k\0m", "\ud800", "k" * 257, "k" * 10_000_000], ids=len)
def test_nobody_is_looked_up_by_what_is_no_name(text: str) -> None:
    assert looked_up(text) == {"username": None, "folded": None}
