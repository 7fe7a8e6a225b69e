"""The README's example does what it shows, on a database that was imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from callytics.importer import Options, import_files
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from callytics.trial.sample import SAMPLE_PASSWORD, write_sample
from tests.support.commands import environment
from tests.support.places import REPOSITORY

pytestmark = pytest.mark.slow

EXAMPLE = REPOSITORY / "examples" / "analysis.py"
SHOWN = """\
 0.0  agent     무엇을 도와드릴까요?
 3.2  customer  냉장고 배송이 언제 되나요?
metrics: [('friendliness', 0.87)]
found: ['«냉장고» «배송이» 언제 되나요']
newest of 김하나: 2026-03-31.wav completed
"""
ACTIVE = """
select a.username, p.full_name
from agent_accounts as a
join agent_profiles as p on p.account_id = a.id
where a.account_status = 'active' and p.is_active and a.account_locked_until is null
order by a.id
limit 1
"""


def test_example(database: Settings, tmp_path: Path) -> None:
    write_sample(tmp_path / "old", generation=3, calls=20, seed=7)
    files = sorted((tmp_path / "old").iterdir())
    import_files(database, files, Options(tmp_path / "snapshots"), lambda *_: None)
    with PostgreSQLManager(database) as postgres:
        agent = postgres.execute_query(ACTIVE, fetch="one")
    assert agent is not None
    done = subprocess.run(
        [sys.executable, EXAMPLE, agent["username"], SAMPLE_PASSWORD],
        env=os.environ
        | environment(database, owner=False)
        | {"JWT_SECRET_KEY": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"},
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    shown, login = done.stdout[: len(SHOWN)], done.stdout[len(SHOWN) :]
    assert shown == SHOWN
    assert login.startswith(f"logged in: {agent['full_name']} ['")
