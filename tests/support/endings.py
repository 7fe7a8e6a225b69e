"""How every command ends when something is wrong: one line with a remedy, and the right exit code."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
from click.testing import CliRunner, Result

from callytics.cli import cli
from callytics.importer import Options, import_files
from callytics.settings import Settings
from tests.support.commands import PROGRAM, environment
from tests.support.installation import quiet
from tests.support.places import REPOSITORY
from tests.support.samples import write_sample
from tests.support.servers import Databases

# Arguments with which each command gets as far as the database. A new command has to be added to one of the two.
WITH_DATABASE = {
    "migrate": "",
    "grants": "",
    "partitions ahead": "",
    "partitions freeze": "",
    "partitions list": "",
    "partitions archive": "2020-01 --yes",
    "partitions restore": "2020-01",
    "import": "calls.sqlite --yes",
    "verify": "calls.sqlite",
    "sync": "calls.sqlite",
    "undo": "1 --yes",
    "timezone": "1 --timezone Asia/Seoul",
    "report": "",
    "erase": "--call 1 --dry-run",
    "serve": "--port 0",
    "agent add": "kim --last-name a --first-name b --department c --position d --password-stdin",
    "agent passwd": "kim --password-stdin",
    "agent lock": "kim",
    "agent unlock": "kim",
    "agent grant": "kim trainer:read",
    "agent revoke": "kim trainer",
    "agent list": "",
    "agent scope": "kim all",
    "agent sessions": "kim",
    "agent end": "kim",
    "audit": "",
}
# These need no database; doctor, status, top and metrics show whatever is wrong with one.
WITHOUT_DATABASE = {
    *("env init", "env check", "env show", "sample", "inspect", "completion", "doctor", "status", "top", "metrics"),
    *("server start", "server status", "server stop"),
}
# These work where a host has its backups, or is a member of a cluster: tests/infra.
ON_HOSTS = {
    *(f"backup {name}" for name in ("now", "list", "check", "drill", "restore", "watch")),
    *(f"cluster {name}" for name in ("status", "switchover", "restart", "reinit")),
}
# Another agent than the one that is there.
OTHER = {"agent add": WITH_DATABASE["agent add"].replace("kim", "lee")}
KEY = {"JWT_SECRET_KEY": "a key of an agent's login, long enough 0123456789"}
PASSWORD = "A long-enough-Passw0rd!\n"


def commands(group: click.Group = cli, prefix: str = "") -> Iterator[str]:
    """Yield the name of every command that does something."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


def run(
    command: str,
    settings: Settings | None,
    arguments: str | None = None,
    before: Sequence[str] = (),
    **variables: str,
) -> Result:
    """Run a command in this process, in the current folder, on a database or without any settings.

    ``before`` are options of `callytics` itself.
    """
    given = WITH_DATABASE.get(command, "") if arguments is None else arguments
    env = {**KEY, **environment(settings), **variables} if settings else variables
    return CliRunner().invoke(cli, [*before, *command.split(), *given.split()], env=env, input=PASSWORD)


def error_of(result: Result, code: int = 1) -> str:
    """Return the line that a command ended with; there is exactly one, it is the last, and no traceback."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert (result.exit_code, len(errors)) == (code, 1), result.output
    assert result.stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in result.output
    assert "?:" not in errors[0]
    assert ": : " not in errors[0]
    return errors[0].removeprefix("Error: ")


def findings(result: Result) -> dict[str, list[str]]:
    """Return what a doctor in trouble says of each check that is not well: what, and after an arrow what to do."""
    assert (result.exit_code, result.stderr) == (1, ""), result.output
    found: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        level, check = line[:8].strip(), line[9:21].strip()
        if level in ("error", "warning"):
            found.setdefault(check, []).append(line[22:])
        elif line.lstrip().startswith("→") and found:
            list(found.values())[-1][-1] += f" {line.strip()}"
    return found


def process(
    command: str, settings: Settings | None, folder: Path, arguments: str | None = None, **variables: str
) -> subprocess.Popen[bytes]:
    """Start a command as a process in a folder, its output in pipes."""
    given = WITH_DATABASE.get(command, "") if arguments is None else arguments
    env: Mapping[str, str] = {
        **os.environ,
        **KEY,
        **(environment(settings) if settings else {}),
        "PYTHONPATH": str(REPOSITORY),
        **variables,
    }
    return subprocess.Popen(
        [*PROGRAM, *command.split(), *given.split()],
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@dataclass(frozen=True)
class Place:
    """A folder with files, and a database that two of them were imported into; one has changed since."""

    folder: Path
    settings: Settings
    arguments: Mapping[str, str]

    def at(self, settings: Settings) -> Place:
        """Return the same folder with other settings."""
        return replace(self, settings=settings)

    def run(self, command: str, **variables: str) -> Result:
        """Run a command; the current folder must be this one."""
        return run(command, self.settings, self.arguments.get(command), **variables)


@contextmanager
def place(databases: Databases, template: Settings, folder: Path) -> Iterator[Place]:
    """Lend a database with two imports, from files in the folder: calls.sqlite, and later.sqlite that has changed.

    new.sqlite was not imported yet, and there is an agent kim.
    """
    names = ("calls", "later", "new")
    files = [folder / f"{name}.sqlite" for name in names]
    for seed, file in enumerate(files):
        write_sample(file, generation=2, calls=2, seed=seed)
    with databases.clone(template) as settings:
        snapshots = folder / "callytics-imports"
        for file in files[:2]:
            # The codes of the second file are there already.
            assert import_files(settings, [file], Options(snapshots), quiet).exit_code in (0, 3)
        with closing(sqlite3.connect(files[1])) as sqlite, sqlite:
            sqlite.execute("update utterances set text = 'changed' where id = (select min(id) from utterances)")
        added = run("agent add", settings)
        assert added.exit_code == 0, added.output
        yield Place(folder, settings, {"sync": "later.sqlite", "import": "new.sqlite --yes", "undo": "2 --yes"} | OTHER)
        shutil.rmtree(snapshots)
