"""The table of walks that scripts/house shows is traced, not typed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from callytics.trial.servers import find_servers
from tests.support.needs import lacking
from tests.support.places import REPOSITORY


@pytest.mark.slow
def test_every_walk_has_files_and_hops() -> None:
    if not next(find_servers(), None):
        lacking("no PostgreSQL is on this machine")
    command = [sys.executable, REPOSITORY / "benchmarks/walks.py", REPOSITORY]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    walks = re.findall(r"^(\S.+?) +(\d+) +(\d+) +(\d+) +(\d+)$", done.stdout, re.MULTILINE)
    assert len(walks) == 5
    assert [name for name, files, functions, _hops, _depth in walks if not 1 < int(files) < int(functions)] == []
