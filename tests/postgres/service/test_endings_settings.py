"""Commands without settings: those that need a database say what is missing, the others do their work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.endings import ON_HOSTS, WITH_DATABASE, WITHOUT_DATABASE, commands, error_of, run
from tests.support.samples import write_sample

NOT_SET = "POSTGRES_HOST is not set: put it into {} ('callytics env init' writes a file)"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_sample(tmp_path / "calls.sqlite", generation=2, calls=1, seed=0)
    return tmp_path


def test_no_command_is_forgotten() -> None:
    assert set(commands()) == set(WITH_DATABASE) | WITHOUT_DATABASE | ON_HOSTS


@pytest.mark.parametrize("command", [*WITH_DATABASE, "doctor"])
def test_without_settings(command: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    assert error_of(run(command, None)).startswith(NOT_SET.format(".env"))
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("command", [*WITH_DATABASE, "doctor"])
def test_the_file_that_was_named_is_the_one_to_write_into(command: str, folder: Path) -> None:
    (folder / "my own.env").write_text("")
    named = ["--env-file", "my own.env"]
    assert error_of(run(command, None, before=named)).startswith(NOT_SET.format("my own.env"))
    named = ["--env-file", "absent.env"]
    assert error_of(run(command, None, before=named)) == "absent.env is not there: check the path after --env-file"


# With what each is asked that needs no database, what it prints, and its exit code.
ALONE = {
    "env init": ("", "written (mode 0600)", 0),
    "env check": ("", "POSTGRES_HOST is not set", 1),
    "env show": ("", "POSTGRES_PORT=5432  # default", 0),
    "sample": ("--generation 2 --calls 1 written.sqlite", "audio_properties", 0),
    "inspect": ("calls.sqlite", "Callytics generation 2", 0),
    "completion": ("bash", "complete", 0),
    "server start": ("private", "PostgreSQL runs on port", 0),
    "server status": ("private", "No PostgreSQL runs in private", 1),
    "server stop": ("private", "holds no private PostgreSQL", 1),
}


@pytest.mark.parametrize("command", sorted(WITHOUT_DATABASE - {"doctor", "status", "top", "metrics"}))
def test_commands_that_need_no_database(command: str, folder: Path) -> None:
    arguments, words, code = ALONE[command]
    # Where nothing could be reached.
    result = run(command, None, arguments, POSTGRES_HOST="" if command == "env check" else "192.0.2.1")
    assert (result.exit_code, "Traceback" in result.output) == (code, False), result.output
    assert words.replace("is not set", "") in result.output.replace("is empty", "")
    if command == "server start":
        assert "Connect: " in run("server status", None, "private").stdout
        assert run("server stop", None, "private --remove --yes").exit_code == 0
