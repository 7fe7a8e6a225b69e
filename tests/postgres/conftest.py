"""Fixtures that several files of tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from callytics.settings import Settings
from tests.support.browser import Browser
from tests.support.installation import Installation
from tests.support.needs import lacking


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser for all tests that look at pages."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        lacking("no Chromium: install Debian's package chromium")
    with Browser(program) as started:
        yield started


@pytest.fixture
def installation(database: Settings, tmp_path: Path) -> Iterator[Installation]:
    """A fresh database to import into, and a folder for files."""
    with Installation.on(database, tmp_path) as installation:
        yield installation
