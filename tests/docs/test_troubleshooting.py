"""Every error line that a user can meet is explained, and no other line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callytics.importer.limits import LIMITS
from callytics.postgres.errors import HINTS
from tests.support.manual import TROUBLESHOOTING, explained
from tests.support.messages import messages

# One entry for many lines that differ in a few words.
GENERAL = {"is not …"}
# A line without words of its own is made of other lines, which are explained instead.
WORDS = re.compile(r" [^\W\d_]|[^\W\d_] ")
both = pytest.mark.parametrize("page", TROUBLESHOOTING, ids=["English", "Korean"])


def limit_lines() -> set[str]:
    """Return the line of each limit of a file, with ``…`` for what differs."""
    return {f"{re.sub(r'{[^}]*}', '…', one.what)}: {one.remedy}" for one in LIMITS.values()}


def is_covered(message: str, lines: set[str]) -> bool:
    return message in lines or any(re.fullmatch(line.replace("…", ".*"), message) for line in GENERAL & lines)


@both
def test_every_error_line_is_explained(page: Path) -> None:
    found = [(place, message) for place, message in messages() if WORDS.search(message)]
    lines = explained(page)
    unexplained = [f"{place}: {message}" for place, message in found if not is_covered(message, lines)]
    assert len(found) > 150
    assert not unexplained, "\n".join([f"explain these in {page}:", *unexplained])


@both
def test_every_hint_of_a_failed_connection_is_explained(page: Path) -> None:
    assert {words for words, _ in HINTS} <= explained(page)


@both
def test_every_limit_is_explained(page: Path) -> None:
    assert limit_lines() - explained(page) == set()


@both
def test_no_line_is_explained_that_no_longer_exists(page: Path) -> None:
    lines = {line for line in explained(page) - GENERAL if "…" in line and not line.startswith("ALTER ")}
    assert lines - {message for _, message in messages()} - limit_lines() == set()
