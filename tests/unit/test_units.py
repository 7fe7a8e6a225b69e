"""The units of the deployment: what holds secrets in memory leaves none of them on the disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY

UNITS = sorted((REPOSITORY / "deploy" / "templates").glob("*.service.j2"), key=lambda path: path.name)


@pytest.mark.parametrize("unit", UNITS, ids=[unit.name for unit in UNITS])
def test_no_unit_writes_core_files(unit: Path) -> None:
    """A password that is in a core file stays there for whoever can read the folder of crashes."""
    service = unit.read_text(encoding="utf-8").partition("[Service]")[2].partition("\n[")[0]
    assert re.findall(r"^LimitCORE=(.*)$", service, re.MULTILINE) == ["0"]


def test_the_service_is_among_them() -> None:
    assert "callytics.service.j2" in [unit.name for unit in UNITS]
