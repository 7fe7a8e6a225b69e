"""No command touches what is not its own: each that takes a path is listed with all that it may write or delete."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

from callytics.cli import cli
from callytics.trial.sample import write_sample
from scripts.manual import every_command
from tests.support.installation import Installation

pytestmark = pytest.mark.slow

KEPT, SERVER = "callytics-imports*", "trial*"
MONTH = "2024-07"
# What is typed, one after the other, how it ends, and what may be different below the working folder after it.
STEPS: list[tuple[str, int, tuple[str, ...]]] = [
    ("--env-file new.env env init", 0, ("new.env",)),
    ("--env-file new.env env init", 1, ()),
    ("sample --generation 1 --calls 2 sample.sqlite", 0, ("sample.sqlite",)),
    ("sample --generation 1 --calls 2 own.sqlite", 1, ()),
    ("sample --generation 3 --calls 2 calls", 1, ()),
    ("inspect own.sqlite", 0, ()),
    ("import --dry-run own.sqlite calls", 0, ()),
    ("import --yes own.sqlite", 0, (KEPT,)),
    ("verify own.sqlite", 0, ()),
    ("sync own.sqlite", 0, (KEPT,)),
    ("timezone 1 --timezone Asia/Seoul", 0, ()),
    ("timezone 1 --timezone UTC", 0, ()),
    ("report --output report.html", 0, ("report.html",)),
    ("report --output report.html", 0, ("report.html",)),
    ("report --output own.html", 1, ()),
    ("report --output own.sqlite", 1, ()),
    (f"partitions archive {MONTH} --into archives", 0, ("archives*",)),
    (f"partitions restore {MONTH}", 0, ()),
    ("metrics --into callytics.prom", 0, ("callytics.prom",)),
    ("metrics --into callytics.prom", 0, ("callytics.prom",)),
    ("metrics --into own.html", 1, ()),
    ("metrics --into own.sqlite", 1, ()),
    ("undo 1 --yes", 0, (KEPT,)),
    ("server start calls", 1, ()),
    ("server stop --remove --yes calls", 1, ()),
    ("server start trial", 0, (SERVER,)),
    ("server status trial", 0, ()),
    ("server stop trial", 0, (SERVER,)),
    ("server stop --remove --yes trial", 0, (SERVER,)),
]
# They are root's on provisioned hosts, where tests/infra runs them; a cluster's is a file that is read.
ON_HOSTS = {"backup", "backup restore", "cluster"}


def names_a_path(command: click.Command) -> bool:
    return any(isinstance(parameter.type, click.Path) for parameter in command.params)


def test_every_command_that_takes_a_path_is_listed() -> None:
    """The others can't be told to write or delete anything but in the database."""
    listed = {" ".join(word for word in step.split() if word[0] not in "-") for step, _code, _touched in STEPS}
    takers = set()
    for words in every_command():
        command: click.Command = cli
        for word in words:
            assert isinstance(command, click.Group)
            command = command.commands[word]
        if words and names_a_path(command):
            takers.add(" ".join(words))
    assert takers > {"import", "report", "sample"}
    found = {name for name in takers if any(name in line for line in listed)}
    assert takers - found - ON_HOSTS == set()


def seen(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Return every file below a folder with its content, mode and time."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_not_its_own_is_left_as_it_is(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = installation.folder
    monkeypatch.chdir(folder)
    (folder / "calls").mkdir()
    write_sample(folder / "own.sqlite", generation=2, calls=20, seed=1)
    write_sample(folder / "calls/other.sqlite", generation=1, calls=3, seed=2)
    for name in (".env", "notes.txt", "calls/notes.txt", "own.html"):
        (folder / name).write_text("# somebody wrote this\n")
    for step, code, allowed in STEPS:
        before = seen(folder)
        result = installation.run(*step.split())
        assert result.exit_code == code, f"{step}\n{result.output}"
        after = seen(folder)
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        assert [name for name in changed if not any(fnmatch(name, one) for one in allowed)] == [], step
    assert after.keys() >= {"own.sqlite", "calls/other.sqlite"}
    assert not (folder / "trial").exists()
