"""Moments as people read them: never in a zone that is not said, and never with microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from callytics.backup.state import State
from callytics.cli import backups, top
from callytics.postgres.text import minute
from callytics.status import advice
from tests.support.places import REPOSITORY

# What a program in Seoul writes down.
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=9)))
IN_UTC = "2026-01-01 18:04 UTC"
SHOWN = re.compile(r"\{([^{}:]+):%[^{}]*\} UTC")
FILES = sorted((REPOSITORY / "callytics").glob("**/*.py"))


def test_whatever_zone_it_came_in() -> None:
    assert minute(MOMENT) == minute(MOMENT.astimezone(UTC)) == IN_UTC


def test_what_is_said_to_be_utc_is_made_so_where_it_is_said() -> None:
    """Our sessions are in UTC; a moment that came another way is not."""
    found = [(path.name, shown) for path in FILES for shown in SHOWN.findall(path.read_text(encoding="utf-8"))]
    assert len(found) >= 3
    assert [(name, shown) for name, shown in found if not shown.endswith("(UTC)")] == []


def test_archiving_in_top_and_its_advice() -> None:
    row = {"mode": "on", "archived": 7, "archived_at": MOMENT, "failed": 1, "failed_at": MOMENT, "failing": True}
    table = top.TABLES["Archiving of WAL"]({"archiving": [row]}, 0)
    assert table
    assert table.rows == [("7", "1", IN_UTC)]
    assert [one.what for one in advice.FINDINGS["archiving"](row)] == [f"fails since {IN_UTC} (1 failure)"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"passed": True, "ended": MOMENT.isoformat(), "rto_seconds": 42.0, "rpo_seconds": None},
         f"drill: passed {IN_UTC}, restored in 42 s (RTO)"),
        ({"passed": False, "ended": MOMENT.isoformat(), "rto_seconds": None, "rpo_seconds": None},
         f"drill: failed {IN_UTC}"),
        ({"passed": False, "ended": None, "rto_seconds": None, "rpo_seconds": None}, "drill: failed"),
    ],
)  # fmt: skip
def test_the_drill_of_the_backups(found: dict[str, object], said: str) -> None:
    assert said in backups.state_lines(State(0.0, drill=found))
