"""A database whose host is lost comes back on another one, from the backups that a third host has."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import restore
from tests.infra.lab import Lab

pytestmark = pytest.mark.slow


def test_a_lost_host_is_restored_to_a_second_with_every_row_that_was_acknowledged(lab: Lab, tmp_path: Path) -> None:
    """The repository is on another host, by TLS; the new host is provisioned by the same command."""
    outcome = restore.measure(lab, tmp_path, seconds=5, writers=2, gibibytes=0, MONITORING="off")
    assert outcome.due > 0
    assert outcome.missing == []
    assert outcome.too_young == []
    assert "The repository holds another cluster's backups" in outcome.said
    assert outcome.rpo < 90
