"""Permissions: which levels include which, and what the type admin counts for."""

from __future__ import annotations

import itertools

import pytest

from callytics.agents.permissions import LEVELS, TYPES, allows

PAIRS = list(itertools.product(LEVELS, LEVELS))
ORDER = {"read": 1, "write": 2, "admin": 3}


@pytest.mark.parametrize(("held", "needed"), PAIRS)
def test_a_level_includes_the_ones_before_it(held: str, needed: str) -> None:
    for name in TYPES:
        assert allows({name: held}, name, needed) == (ORDER[held] >= ORDER[needed])


@pytest.mark.parametrize(("held", "needed"), PAIRS)
def test_admin_counts_for_every_type_at_its_level(held: str, needed: str) -> None:
    for name in TYPES:
        assert allows({"admin": held}, name, needed) == (ORDER[held] >= ORDER[needed])


def test_no_other_type_counts_for_another() -> None:
    for held, needed in itertools.permutations(TYPES, 2):
        assert allows({held: "admin"}, needed, "read") == (held == "admin")


def test_the_higher_of_both_counts() -> None:
    assert allows({"admin": "read", "analysis_view": "write"}, "analysis_view", "write")
    assert not allows({"admin": "read", "analysis_view": "write"}, "audio_upload", "write")


def test_nothing_allows_nothing() -> None:
    for name in TYPES:
        assert not allows({}, name, "read")


@pytest.mark.parametrize(("name", "level"), [("analysis-view", "read"), ("analysis_view", "owner"), ("", "")])
def test_what_does_not_exist_is_permitted_to_no_one(name: str, level: str) -> None:
    """A word mistyped in the program must not look like a refusal."""
    with pytest.raises(ValueError, match=r"does not exist|not in"):
        allows({"admin": "admin"}, name, level)
