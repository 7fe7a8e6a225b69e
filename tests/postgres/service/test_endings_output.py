"""Output that nobody reads, that finds no room, or whose encoding lacks what is to be shown."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from callytics.cli import cli
from callytics.cli.boundary import Printing
from callytics.importer import Options, import_files
from callytics.settings import Settings
from tests.support.commands import PROGRAM, environment, start
from tests.support.endings import KEY, ON_HOSTS, Place, commands, place, process, run
from tests.support.installation import quiet, write
from tests.support.servers import Databases, execute

pytestmark = pytest.mark.slow

ODD = "콜 é😀.sqlite"
TABLES = """
create table audio_properties (id integer primary key autoincrement, file_path text not null, file_name text not null,
                               created_at datetime);
insert into audio_properties values (1, '/c/é😀.wav', 'é😀.wav', '😀 어제');
create table "메모😀é" (x text);
insert into "메모😀é" values ('y');
"""


@pytest.fixture(scope="module")
def here(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(databases, template, tmp_path_factory.mktemp("place")) as prepared:
        file = write(prepared.folder / ODD, TABLES)
        options = Options(prepared.folder / "callytics-imports")
        assert import_files(prepared.settings, [file], options, quiet).exit_code == 3
        later = write(prepared.folder / f"later {ODD}", TABLES.replace("/c/", "/d/"))
        assert import_files(prepared.settings, [later], options, quiet).exit_code == 3
        with closing(sqlite3.connect(later)) as sqlite, sqlite:
            sqlite.execute("update \"메모😀é\" set x = 'z'")
        arguments = "kimé --last-name 김 --first-name 😀 --department é --position e --password-stdin"
        assert run("agent add", prepared.settings, arguments).exit_code == 0
        # As an import may bring it: a new username has no such letters.
        execute(
            prepared.settings,
            "update agent_accounts set username = 'kimé😀', folded_name = null where username = 'kimé'",
        )
        yield prepared


# Each with what it is asked, and its exit code, where names, values or settings have what an encoding lacks.
SHOWING = {
    "inspect": ([ODD], 0),
    "import": ([ODD, "--yes"], 3),
    "verify": ([ODD], 3),
    "sync": (["later " + ODD, "--dry-run"], 0),
    "undo": (["3", "--dry-run"], 0),
    "timezone": (["3", "--utc", "메모😀é.x"], 1),
    "report": (["--lang", "ko"], 0),
    "report html": (["--format", "html"], 0),
    "report json": (["--json"], 0),
    "agent list": ([], 0),
    "agent unlock": (["kimé😀"], 0),
    "agent lock": (["nobody é😀"], 1),
    "env show": ([], 0),
}


SHORT = ("inspect", "agent list", "env show")


@pytest.mark.parametrize("command", SHOWING)
def test_what_an_encoding_lacks_is_escaped(command: str, here: Place) -> None:
    arguments, code = SHOWING[command]
    assert "😀" in shown(command, arguments, "utf-8", code, here)
    for encoding in ("euc-kr", "latin-1") if command in SHORT else ("euc-kr",):
        text = shown(command, arguments, encoding, code, here)
        assert "\\ud83d\\ude00" in text
        assert "😀" not in text


def test_ascii_is_taken_for_a_locale_that_nobody_chose(here: Place) -> None:
    """Click writes UTF-8 then, as Python does with LC_ALL=C."""
    assert "😀" in shown("agent list", [], "ascii", 0, here)


def shown(command: str, arguments: list[str], encoding: str, code: int, here: Place) -> str:
    """Run a command whose output has an encoding, and return it; it must end with an exit code."""
    with start(
        here.settings,
        *command.removesuffix(" html").removesuffix(" json").split(),
        *arguments,
        folder=here.folder,
        env={"PYTHONIOENCODING": encoding, "API_HOST": "é😀"},
        text=False,
    ) as running:
        coding = "utf-8" if encoding == "ascii" else encoding
        out, error = (stream.decode(coding) for stream in running.communicate())
    assert "Traceback" not in error
    assert running.returncode == code, out + error
    return out + error


def printing() -> set[str]:
    """Return the commands that do nothing but print."""
    found = set()
    for name in commands():
        command = cli
        for part in name.split():
            command = command.commands[part]  # type: ignore[attr-defined]
        if isinstance(command, Printing) and name not in ON_HOSTS:
            found.add(name)
    return found


# What makes each command that works print, and end well.
WORKING = {
    "migrate": "",
    "grants": "",
    "partitions ahead": "",
    "partitions freeze": "",
    "partitions archive": "--keep 1200",
    "import": "calls.sqlite --yes",
    "verify": "calls.sqlite",
    "sync": "later.sqlite",
    "undo": "2 --dry-run",
    "timezone": "2 --timezone Asia/Seoul --dry-run",
    "erase": "--call 1 --dry-run",
    "agent add": "lee --last-name a --first-name b --department c --position d --password-stdin",
    "agent passwd": "kim --password-stdin",
    "agent lock": "kim",
    "agent unlock": "kim",
    "agent grant": "kim trainer:read",
    "agent revoke": "kim trainer",
    "agent scope": "kim all",
    "agent end": "kim",
    "env init": "",
    "sample": "--generation 2 --calls 1 written.sqlite",
    "server start": "private",
    "server stop": "private",
}
PRINTING = {
    "agent sessions": "kim",
    "top": "--once",
    "inspect": "calls.sqlite",
    "completion": "bash",
    "server status": "private",
}


@pytest.mark.quick
def test_every_command_is_here() -> None:
    # What a month takes to be restored is in test_archives.
    assert set(commands()) == printing() | set(WORKING) | ON_HOSTS | {"serve", "partitions restore"}


def without_reader(command: str, arguments: str, here: Place, together: bool) -> tuple[int, bytes]:
    """Run a command whose output, with or without its errors, goes to a reader that has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [*PROGRAM, *command.split(), *arguments.split()],
        env={**os.environ, **KEY, **environment(here.settings)},
        cwd=here.folder,
        input=b"A long-enough-Passw0rd!\n",
        stdout=writer,
        stderr=writer if together else subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    return ended.returncode, ended.stderr or b""


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("command", sorted(printing()))
def test_a_command_that_only_prints_ends_as_cat_does(command: str, together: bool, here: Place) -> None:
    assert without_reader(command, PRINTING.get(command, ""), here, together) == (141, b"")


@pytest.mark.parametrize("command", WORKING)
def test_work_goes_on_without_a_reader(command: str, here: Place) -> None:
    """Its exit code tells how it ended."""
    code, _ = without_reader(command, WORKING[command], here, True)
    assert code in ((0, 3) if command == "sync" else (0,))
    if command == "agent add":
        assert execute(here.settings, "select count(*) from agent_accounts where username = 'lee'") == [(1,)]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("import calls.sqlite", "already imported"),
        ("undo 99", "there is no import 99"),
        ("top --once", "PostgreSQL"),
        ("agent passwd kim", "give it with --password-stdin"),
    ],
)
def test_a_closed_stdin_is_an_empty_one(command: str, said: str, here: Place) -> None:
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *PROGRAM, *command.split()],
        env={**os.environ, **KEY, **environment(here.settings)},
        cwd=here.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_import_outlives_the_reader_of_its_progress(here: Place, tmp_path: Path, database: Settings) -> None:
    """Both streams end in one pipe, as in `callytics import … 2>&1 | head -1`."""
    assert without_reader("import", "new.sqlite --json --yes", here.at(database), True) == (0, b"")
    assert execute(database, "select count(*) from audio_files") == [(2,)]


@pytest.mark.parametrize("command", sorted(printing()))
def test_a_full_disk_is_one_line(command: str, here: Place) -> None:
    given = PRINTING.get(command, "")
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*PROGRAM, *command.split(), *given.split()],
            env={**os.environ, **KEY, **environment(here.settings)},
            cwd=here.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        "Error: the output can't be used (No space left on device): correct"
    )


def test_a_service_goes_on_when_nobody_reads_its_log(here: Place) -> None:
    with process("serve", here.settings, here.folder, "--port 0") as service:
        try:
            assert service.stdout
            started = json.loads(next(line for line in service.stdout if b'"serving"' in line))
            service.stdout.close()
            for _ in range(3):
                answer = urllib.request.urlopen(f"http://127.0.0.1:{started['port']}/health", timeout=10)
                assert answer.status == 200
        finally:
            service.terminate()
        assert service.wait(30) == 0
