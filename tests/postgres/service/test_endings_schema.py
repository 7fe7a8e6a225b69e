"""A database that is not migrated, or that a newer version migrated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from callytics.settings import Settings
from tests.support.endings import WITH_DATABASE, error_of, findings, run
from tests.support.samples import write_sample
from tests.support.servers import Databases, execute

NEWER = "insert into _yoyo_migration (migration_hash, migration_id, applied_at_utc) values ('x', '9999.x', now())"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_sample(tmp_path / "calls.sqlite", generation=2, calls=1, seed=0)
    return tmp_path


@pytest.fixture(scope="module")
def empty(databases: Databases) -> Iterator[Settings]:
    with databases.empty() as settings:
        yield settings


@pytest.fixture(scope="module")
def newer(databases: Databases, template: Settings) -> Iterator[Settings]:
    with databases.clone(template) as settings:
        execute(settings, NEWER)
        yield settings


@pytest.mark.parametrize("command", [command for command in WITH_DATABASE if command != "migrate"])
def test_before_the_migrations(command: str, empty: Settings, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    assert error_of(run(command, empty)).endswith("run 'callytics migrate'")
    assert sorted(folder.rglob("*")) == before


def test_the_doctor_before_the_migrations(empty: Settings) -> None:
    (line,) = findings(run("doctor", empty))["schema"]
    assert line.endswith(" migrations missing, from 0001.tables → run 'callytics migrate'")


# These two depend on a procedure and a function that any version has.
@pytest.mark.parametrize("command", [name for name in WITH_DATABASE if name not in ("grants", "partitions ahead")])
def test_after_the_migrations_of_a_newer_version(command: str, newer: Settings, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    line = error_of(run(command, newer))
    assert line.endswith("was migrated by a newer version of Callytics (9999.x): install that version")
    assert sorted(folder.rglob("*")) == before


def test_the_doctor_after_a_newer_version(newer: Settings) -> None:
    (line,) = findings(run("doctor", newer))["schema"]
    assert line.endswith("9999.x → install the version of Callytics that migrated this database")
