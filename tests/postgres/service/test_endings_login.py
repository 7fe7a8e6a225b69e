"""A server that is away, or that lets nobody in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from callytics.settings import Settings
from tests.support.endings import WITH_DATABASE, error_of, findings, run
from tests.support.samples import write_sample
from tests.support.servers import Databases

pytestmark = pytest.mark.slow

OWNERS = ("migrate", "grants", "import", "verify", "sync", "undo", "timezone", "report")
OWNERS += ("partitions freeze", "partitions list", "partitions archive", "partitions restore", "erase")
# What is wrong, and how the line ends.
WRONG = {
    "port": ({"port": 1}, "is PostgreSQL running there, and is POSTGRES_PORT right?"),
    "host": ({"hosts": ("nowhere.invalid",)}, "correct POSTGRES_HOST"),
    "password": (
        {"password": "wrong", "owner_password": "wrong"},
        "correct {user} and {password}, or create the role if it is not there yet",
    ),
    "role": (
        {"user": "nobody", "owner_user": "nobody either"},
        "correct {user} and {password}, or create the role if it is not there yet",
    ),
    "database": ({"database": "no such"}, "create it, or correct its name"),
}


@pytest.fixture(scope="module")
def empty(databases: Databases) -> Iterator[Settings]:
    with databases.empty() as settings:
        yield settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_sample(tmp_path / "calls.sqlite", generation=2, calls=1, seed=0)
    return tmp_path


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("command", WITH_DATABASE)
def test_every_command(command: str, what: str, empty: Settings, folder: Path) -> None:
    changes, remedy = WRONG[what]
    before = sorted(folder.rglob("*"))
    prefix = "POSTGRES_OWNER" if command in OWNERS else "POSTGRES"
    line = error_of(run(command, replace(empty, **changes)))  # type: ignore[arg-type]
    assert line.endswith(remedy.format(user=f"{prefix}_USER", password=f"{prefix}_PASSWORD"))
    assert "wrong" not in line
    assert sorted(folder.rglob("*")) == before


@pytest.mark.quick
@pytest.mark.parametrize("what", WRONG)
def test_the_doctor(what: str, empty: Settings) -> None:
    changes, remedy = WRONG[what]
    lines = findings(run("doctor", replace(empty, **changes)))["connection"]  # type: ignore[arg-type]
    endings = [
        remedy.format(user=f"{prefix}_USER", password=f"{prefix}_PASSWORD") for prefix in ("POSTGRES", "POSTGRES_OWNER")
    ]
    assert [line.rpartition(" → ")[2] for line in lines] == endings
