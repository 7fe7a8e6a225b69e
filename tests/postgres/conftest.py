"""Fixtures that several files of tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from callytics.settings import Settings
from tests.support.installation import Installation


@pytest.fixture
def installation(database: Settings, tmp_path: Path) -> Iterator[Installation]:
    """A fresh database to import into, and a folder for files."""
    # Many of the files that tests make hold only what they are about, which no mapping knows.
    with Installation.on(database, tmp_path, unmapped=True) as installation:
        yield installation
