"""Each finding of the attack on the service and the importer has its tests, and they are there."""

from __future__ import annotations

import ast
import tomllib
from functools import cache

import pytest

from tests.support.places import REPOSITORY

FINDINGS = tomllib.loads((REPOSITORY / "tests" / "findings.toml").read_text(encoding="utf-8"))


@cache
def names_in(path: str) -> set[str]:
    """Return the names of a file's tests."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_all_are_listed() -> None:
    assert [*FINDINGS] == ["H1", "H2", "H3", *(f"M{number}" for number in range(1, 17))]


@pytest.mark.parametrize("finding", FINDINGS)
def test_what_was_found_is_held_by_tests(finding: str) -> None:
    named = FINDINGS[finding]["tests"]
    assert FINDINGS[finding]["found"]
    assert named
    assert len({*named}) == len(named)
    for test in named:
        path, _, name = test.partition("::")
        assert name.startswith("test_")
        assert name in names_in(path), test
