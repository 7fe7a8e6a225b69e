"""When values are the same, and what is said of rows where they are not: rows and columns, never contents."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from callytics.postgres.text import parse_json


@dataclass(frozen=True)
class Difference:
    """A row that is not what it should be: `column` is None where the row is missing."""

    table: str
    key: int
    column: str | None
    finding: str


@dataclass(frozen=True)
class Clash:
    """A row that was changed in PostgreSQL, with the columns that were (none where the row as a whole is meant)."""

    table: str
    key: int
    columns: tuple[str, ...]
    finding: str


def same_values(expected: pa.Array, actual: pa.Array, kind: str) -> pa.Array | None:
    """Return which values are the same, None when all are."""
    if kind == "jsonb":
        return _same_documents(expected, actual.storage)
    if kind.endswith("[]"):
        # By repr, for the same reason.
        return None if expected.equals(actual) else _same_one_by_one(expected, actual, lambda a, b: repr(a) == repr(b))
    if kind == "double precision":
        # By their bits: as numbers 0.0 equals -0.0, and NaN nothing, not even itself.
        expected, actual = expected.view(pa.int64()), actual.view(pa.int64())
    return None if expected.equals(actual) else _equal(expected, actual)


def _equal(expected: pa.Array, actual: pa.Array) -> pa.Array:
    both_null = pc.and_(expected.is_null(), actual.is_null())
    return pc.or_(both_null, pc.fill_null(pc.equal(expected, actual), False))


def _same_documents(expected: pa.Array, actual: pa.Array) -> pa.Array | None:
    equal = _equal(expected, actual)
    others = pc.invert(equal)
    pairs = list(zip(expected.filter(others).to_pylist(), actual.filter(others).to_pylist(), strict=True))
    # Documents repeat, and PostgreSQL writes the same one always alike: each pair is parsed once.
    same = {pair: same_json(*pair) for pair in set(pairs)}
    if all(same.values()):
        return None
    return pc.replace_with_mask(equal, others, pa.array([same[pair] for pair in pairs], pa.bool_()))


def _same_one_by_one(expected: pa.Array, actual: pa.Array, same: Any) -> pa.Array | None:
    pairs = zip(expected.to_pylist(), actual.to_pylist(), strict=True)
    mask = [same(one, other) for one, other in pairs]
    return None if all(mask) else pa.array(mask, pa.bool_())


def same_json(one: str | None, other: str | None) -> bool:
    """Tell whether two JSON texts mean the same."""
    if one is None or other is None:
        return one is other
    # Texts that are equal need no parsing, and most are.
    return one == other or bool(_parsed(one) == _parsed(other))


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except RecursionError:
        # Deeper than what an import takes for JSON, so that somebody else wrote it.
        return text
    except ValueError:
        return json.loads(text)
