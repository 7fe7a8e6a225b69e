"""What tests need of the machine, and what happens where it is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from callytics.trial.servers import find_servers


def lacking(reason: str) -> NoReturn:
    """Skip a test whose need is not met here; in CI everything must be met."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have what this test needs: {reason}")
    pytest.skip(reason)


def need_postgres_15() -> None:
    """Skip a test that needs the version that hosts have, where another one would be started."""
    if [server.version for server in find_servers()][:1] != [15]:
        lacking("PostgreSQL 15 is not the first server found: install postgresql-15")
