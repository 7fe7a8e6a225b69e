"""Which JSON is taken for what it says: the same for every caller, however deep its stack is."""

from __future__ import annotations

import pytest

from callytics.postgres.text import is_exact_json

DEPTHS = [1, 499, 500, 501, *range(900, 1001, 7), 5000, 200_000]


def deeper(frames: int, text: str) -> bool:
    """Ask from deeper in the stack."""
    return is_exact_json(text) if frames == 0 else deeper(frames - 1, text)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("form", [("[", "]"), ('{"a":', "1", "}"), ('[{"]": ', '"}"', "}]")])
def test_how_deep_json_may_be_does_not_depend_on_the_caller(depth: int, form: tuple[str, ...]) -> None:
    """A load and its verification must read a document alike; so does a dry run."""
    text = form[0] * depth + form[1] * (len(form) == 3) + form[-1] * depth
    levels = depth * (form[0].count("[") + form[0].count("{"))
    assert {is_exact_json(text), deeper(200, text)} == {levels <= 500}


def test_brackets_in_strings_are_no_levels() -> None:
    """Nor are brackets beside each other."""
    assert is_exact_json('["' + "[{" * 3000 + '", "\\"[[["]')
    assert is_exact_json("[" + ",".join(["[]"] * 3000) + "]")
    assert not is_exact_json('["' + '\\"[' * 100_000)
