"""Whose the rows of each table are, as belongings.toml declares it: for what erases them, and keeps them erased."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Belonging:
    """By what the rows of a table are told to be a call's or an agent's; the fields are those of the file.

    ``nobody`` has the reason for which no row is, where that is so.
    """

    table: str
    key: str | None = "id"
    goes_with: Mapping[str, str] = field(default_factory=dict)
    cleared: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None
    names: Sequence[str] = ()
    mentions: Sequence[str] = ()
    nobody: str | None = None


@cache
def belongings() -> Mapping[str, Belonging]:
    """Return what is declared of every table, parents before children; those of ``imports`` have their schema."""
    declared = tomllib.loads(FILE.read_text(encoding="utf-8"))
    # TOML has no null, so false stands for no key.
    return {
        name: Belonging(name, **{**values, "key": values.get("key", "id") or None}) for name, values in declared.items()
    }


def personal() -> list[Belonging]:
    """Return what is declared of the tables whose rows are somebody's, parents first."""
    return [one for one in belongings().values() if one.nobody is None]
