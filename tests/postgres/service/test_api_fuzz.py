"""What the API says of itself is put to it, right and wrong, by schemathesis: it answers as it says it would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callytics.agents.accounts import Grant
from callytics.agents.auth import AgentAuth
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from tests.support.agents import KIM, PASSWORD, SERVICE, Counting, accounts_of
from tests.support.serving import KEY, Served, served

pytestmark = pytest.mark.slow

# A longer run, another each time, with every field of an analysis missing, too long and of each wrong type in turn:
# CALLYTICS_FUZZ_EXAMPLES=500 pytest tests/postgres/service/test_api_fuzz.py
EXAMPLES = os.environ.get("CALLYTICS_FUZZ_EXAMPLES", "")
EVERY_PHASE = "examples,coverage,fuzzing"
# What is right may be refused too: a cursor that no page held, an index past a list's end.
CHECKS = ("--checks", "all", "--exclude-checks", "positive_data_acceptance", "--request-timeout", "20")
# Either would end the session that the other requests need.
ENDING = ("--exclude-path", "/auth/logout", "--exclude-path", "/auth/sessions")
# 413 is a refusal as well: schemathesis counts on the others only.
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
"""
Token = Callable[[], str]


@pytest.fixture(scope="module")
def service(own_database: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that runs."""
    with served(own_database, tmp_path_factory.mktemp("fuzz") / "log") as started:
        yield started


@pytest.fixture(scope="module")
def new_token(own_database: Settings) -> Iterator[Token]:
    """A way to log in that does not count as one of the address's logins."""
    assert SERVICE.jwt_secret_key == KEY
    with PostgreSQLManager(own_database) as postgres:
        auth = AgentAuth(postgres, SERVICE, passwords=Counting())
        # Not the name of the examples, whose wrong passwords would lock it.
        accounts_of(auth).add_agent("fuzz", PASSWORD, KIM, [Grant("admin", "admin")])
        yield lambda: auth.login("fuzz", PASSWORD).token


def fuzz(service: Served, folder: Path, *options: str, examples: int, phases: str = EVERY_PHASE) -> None:
    """Have schemathesis ask; everything it finds fails the test."""
    bounds = ("--max-examples", EXAMPLES or str(examples), "--phases", EVERY_PHASE if EXAMPLES else phases)
    seed = () if EXAMPLES else ("--seed", "1")
    program = Path(sys.executable).with_name("schemathesis")
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    command = [program, "run", f"{service.url}/openapi.json", *CHECKS, *bounds, *seed, *options]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_no_request_makes_the_api_fail(service: Served, new_token: Token, tmp_path: Path) -> None:
    token = ("--header", f"Authorization: Bearer {new_token()}")
    fuzz(service, tmp_path, *token, *ENDING, "--exclude-path", "/analyses", examples=5)


def test_no_analysis_makes_the_api_fail(service: Served, new_token: Token, tmp_path: Path) -> None:
    token = ("--header", f"Authorization: Bearer {new_token()}")
    fuzz(service, tmp_path, *token, "--include-path", "/analyses", examples=30, phases="examples,fuzzing")


def test_no_stranger_makes_the_api_fail(service: Served, tmp_path: Path) -> None:
    fuzz(service, tmp_path, "--include-path", "/auth/logout", examples=5)


def test_the_log_tells_of_no_error(service: Served) -> None:
    """Runs last: what the fuzzing left in the log."""
    lines = service.lines()
    assert [line for line in lines if line["level"] not in ("info", "warning")] == []
    answered = [line["status"] for line in lines if "status" in line]
    assert max(answered) < 500
    # 500 examples are a run of at least 5,000 requests.
    assert len(answered) >= 10 * int(EXAMPLES or 5)
