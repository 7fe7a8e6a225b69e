"""Every command that meets trouble with its settings, its database or its output ends with one line and a remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from callytics.cli import cli
from callytics.settings import Settings
from callytics.trial.sample import write_sample
from tests.support.commands import environment
from tests.support.endings import KEY, WITH_DATABASE, WITHOUT_DATABASE, commands
from tests.support.servers import Databases, execute


def test_no_command_is_forgotten() -> None:
    assert set(commands()) == set(WITH_DATABASE) | WITHOUT_DATABASE


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calls") / "calls.sqlite"
    write_sample(path, generation=2, calls=1, seed=0)
    return path


@pytest.fixture
def folder(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(calls, tmp_path)
    return tmp_path


def variables(settings: Settings) -> dict[str, str]:
    return environment(settings) | KEY


def ends_in_one_line(command: str, environment: dict[str, str], remedy: str) -> None:
    arguments = [*command.split(), *WITH_DATABASE[command].split()]
    result = CliRunner().invoke(cli, arguments, env=environment, input="A long-enough-Passw0rd!\n")
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert (result.exit_code, len(errors)) == (1, 1), result.output
    assert remedy in errors[0]
    assert "Traceback" not in result.output
    assert "?:" not in errors[0]


@pytest.mark.parametrize("command", WITH_DATABASE)
def test_without_settings(command: str, folder: Path) -> None:
    ends_in_one_line(command, {}, "POSTGRES_HOST is not set: put it into .env")


@pytest.mark.parametrize("command", WITH_DATABASE)
def test_with_the_server_away(command: str, folder: Path, bare_database: Settings) -> None:
    away = replace(bare_database, port=1)
    ends_in_one_line(command, variables(away), "is PostgreSQL running there, and is POSTGRES_PORT right?")


@pytest.mark.parametrize("command", WITH_DATABASE)
def test_with_a_wrong_password(command: str, folder: Path, bare_database: Settings) -> None:
    wrong = replace(bare_database, password="wrong", owner_password="wrong")
    ends_in_one_line(command, variables(wrong), "or create the role if it is not there yet")


@pytest.fixture(scope="module")
def newer(databases: Databases, template: Settings) -> Iterator[Settings]:
    with databases.clone(template) as settings:
        execute(
            settings,
            "insert into _yoyo_migration (migration_hash, migration_id, applied_at_utc) values ('x', '9999.x', now())",
        )
        yield settings


@pytest.mark.parametrize("command", [name for name in WITH_DATABASE if name not in ("grants", "partitions ahead")])
def test_with_a_database_that_a_newer_version_migrated(command: str, folder: Path, newer: Settings) -> None:
    ends_in_one_line(command, variables(newer), "was migrated by a newer version of Callytics (9999.x): install")


@pytest.mark.parametrize("command", [command for command in WITH_DATABASE if command != "migrate"])
def test_before_the_migrations(command: str, folder: Path, bare_database: Settings) -> None:
    ends_in_one_line(command, variables(bare_database), "run 'callytics migrate'")


PROGRAM = [sys.executable, "-m", "callytics.cli"]
ODD = {"POSTGRES_HOST": "é🙂", "PYTHONPATH": str(Path(__file__).parents[3])}


@pytest.mark.parametrize("encoding", ["euc-kr", "latin-1"])
def test_what_an_encoding_lacks_is_escaped(encoding: str, folder: Path) -> None:
    told = subprocess.run(
        [*PROGRAM, "env", "show"],
        env=os.environ | ODD | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert "\\ud83d\\ude42" in told.stdout.decode(encoding).splitlines()[0]
    assert told.stderr == b""


def test_a_reader_that_has_gone_ends_a_command_quietly(folder: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "env", "show"], env=os.environ | ODD, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


@pytest.mark.parametrize("command", ["sample --generation 2 written.sqlite", "inspect calls.sqlite"])
def test_only_work_that_nobody_sees_ends_with_its_own_code(command: str, folder: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, *command.split()], env=os.environ | ODD, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert "Error" not in process.stderr.read()
        assert process.wait() == (0 if command.startswith("sample") else 141)


def test_an_import_outlives_the_reader_of_its_progress(folder: Path, database: Settings) -> None:
    """Both streams end in one pipe, as in `callytics import … 2>&1 | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    told = subprocess.run(
        [*PROGRAM, "import", "calls.sqlite", "--json", "--yes"],
        env=os.environ | ODD | variables(database),
        stdout=writer,
        stderr=writer,
        check=False,
    )
    os.close(writer)
    assert told.returncode == 0
    assert execute(database, "select count(*) from audio_files") == [(1,)]


def test_an_undo_asks_only_what_can_be_done(folder: Path, database: Settings) -> None:
    result = CliRunner().invoke(cli, ["undo", "7"], env=variables(database))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: there is no import 7: ")


def test_a_full_disk_is_one_line(folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        told = subprocess.run(
            [*PROGRAM, "env", "show"], env=os.environ | ODD, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert told.returncode == 1
    assert told.stderr.startswith("Error: the output can't be used: No space left on device: correct")
