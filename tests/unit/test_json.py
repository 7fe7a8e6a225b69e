"""Which JSON is taken for what it says, and which is the same: for every caller alike, and for whole columns."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callytics.importer.convert.columns import convert_column
from callytics.importer.convert.values import Text, convert
from callytics.importer.target.comparing.findings import same_json, same_values
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


# Each beside another that says the same or nearly so, or that jsonb would hold with a loss or not at all.
ODD = (
    *("1", "1.0", "1e0", "true", "null", '"1"', "-0", "0", "0.1", "0.10000000000000000001", "01", "+1", "NaN"),
    *(
        "1e400",
        "1e-400",
        "9" * 400,
        "9" * 1001,
        "1e1001",
        "1e99999999999999999999",
        "Infinity",
        "",
        " ",
        "[1",
        "\ufeff1",
    ),
    *('{"a": 1, "b": 2}', '{"b":2,"a":1}', '{"b": 2.0, "a": 1}', '{"a": 1, "a": 1}', '{"a": {"b": 1, "b": 2}}', "{}"),
    *('"\\u0000"', '"\\\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', '"😀"', '"\\uac00"', '"가"', '"\t"', '"\x7f"', "가"),
    *(
        "[" * 500 + "]" * 500,
        "[" * 501 + "]" * 501,
        '["[", "\\"["]',
        "[1, 2]",
        "[1,2]",
        "[2, 1]",
        "\n[1,\t2]\r ",
        "[1,]",
    ),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab가", max_size=2), inner, max_size=3),
    max_leaves=5,
)
WRITTEN = st.builds(lambda value, escapes: json.dumps(value, ensure_ascii=escapes), VALUES, st.booleans())
TEXTS = st.none() | st.sampled_from(ODD) | WRITTEN.filter(lambda text: "\0" not in text)


@given(st.lists(TEXTS, max_size=12))
def test_a_column_of_json_is_taken_as_each_of_its_values_is(texts: list[str | None]) -> None:
    """Also where a text is there several times, or beside one that jsonb can't hold."""
    converted, fine = convert_column(pa.array([*texts, *texts[:3]], pa.string()), "jsonb")
    expected = [text is None or convert(Text(text.encode()), "jsonb").normalisation is None for text in texts]
    assert fine.to_pylist() == [*expected, *expected[:3]]
    kept = [text if taken else None for text, taken in zip(texts, expected, strict=True)]
    assert converted.to_pylist() == [*kept, *kept[:3]]


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=12))
def test_columns_of_json_are_compared_as_each_pair_is(pairs: list[tuple[str | None, str | None]]) -> None:
    """Whatever is there once or often, written alike or otherwise."""
    pairs = [(a, b) for a, b in pairs if all(one is None or is_exact_json(one) for one in (a, b))]
    pairs += [(a, a) for a, _ in pairs[:3]] + pairs[:3]
    expected, actual = (pa.array([pair[side] for pair in pairs], pa.string()) for side in (0, 1))
    found = same_values(expected, pa.ExtensionArray.from_storage(pa.json_(), actual), "jsonb")
    same = [same_json(*pair) for pair in pairs]
    assert (found is None) == all(same)
    assert found is None or found.to_pylist() == same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1", "1.0", True),
        ("1", "true", False),
        ("0.1", "0.10000000000000000001", False),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', True),
        ('{"a": 1}', '{"a": "1"}', False),
        ('"\\uac00"', '"가"', True),
        ("[1, 2]", "[2, 1]", False),
        (None, "null", False),
    ],
)
def test_json_is_the_same_where_jsonb_holds_the_same(one: str | None, other: str, same: bool) -> None:
    """Numbers by all their digits, objects whatever the order of their keys."""
    columns = [pa.array([text] * 2, pa.string()) for text in (one, other)]
    found = same_values(columns[0], pa.ExtensionArray.from_storage(pa.json_(), columns[1]), "jsonb")
    assert found is None if same else found.to_pylist() == [False, False]
