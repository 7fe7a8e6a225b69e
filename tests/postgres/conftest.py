"""Fixtures that several files of tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support.browser import Browser
from tests.support.house import homes, house
from tests.support.needs import lacking

__all__ = ["homes", "house"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser for all tests that look at pages."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        lacking("no Chromium: install Debian's package chromium")
    with Browser(program) as started:
        yield started
