"""Files that are locked or can't be written, and questions that are asked only when nothing else is in the way."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from callytics.cli import cli
from callytics.cli import imports as import_commands
from callytics.importer.source import copying
from callytics.settings import Settings
from tests.support.commands import environment
from tests.support.endings import KEY, Place, error_of, place, process, run
from tests.support.servers import Databases, execute

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(databases, template, tmp_path_factory.mktemp("place")) as prepared:
        yield prepared


@pytest.fixture
def folder(here: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(here.folder)
    return here.folder


FILES = {"inspect": "calls", "import": "new", "verify": "calls", "sync": "later"}


@pytest.mark.parametrize("command", FILES)
def test_a_locked_file_is_said_and_waited_for(
    command: str, here: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("LOCK_TIMEOUT_SECONDS", 1.0), ("NOTICE_SECONDS", 0.2), ("TRY_SECONDS", 0.1)):
        monkeypatch.setattr(copying, name, seconds)
    file = folder / f"{FILES[command]}.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        result = run(command, here.settings, file.name)
        assert error_of(result) == f"{file} is locked by another program for 1 s: try again later"
        notice = f"{file} is locked by another program: waiting for up to 1 s"
        assert result.stderr.splitlines().count(notice) == 1
        assert notice not in run(command, here.settings, f"{file.name} --quiet").stderr
        events = run(command, here.settings, f"{file.name} --json").stderr
        assert f'{{"event": "notice", "text": "{notice}"}}' in events


@pytest.mark.quick
def test_it_is_said_after_two_seconds_without_a_terminal(here: Place, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "calls.sqlite", isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        began = time.monotonic()
        with process("inspect", None, folder, "calls.sqlite") as command:
            assert command.stderr
            assert b"waiting for up to 30 s" in command.stderr.readline()
            assert time.monotonic() - began < 15
            holder.execute("rollback")
            assert b"Traceback" not in command.communicate()[1]
            assert command.returncode == 0


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("nowhere/report.html", "the folder of nowhere/report.html is not there: create it first, or choose another"),
        ("report.pdf", "report.pdf has no suffix of a report: end its name in .html, .md or .json, or give --format"),
        ("report", "report has no suffix of a report: "),
        ("calls.sqlite --format md", "calls.sqlite is already there and is not a report: "),
    ],
)
def test_a_report_is_refused_before_the_database_is_asked(output: str, words: str, here: Place, folder: Path) -> None:
    away = replace(here.settings, port=1)
    assert error_of(run("report", away, f"--output {output}")).startswith(words)
    assert "Connection refused" in error_of(run("report", away, "--output report.html"))
    assert not (folder / "report.html").exists()


@pytest.mark.quick
def test_a_report_replaces_an_earlier_one_as_a_whole_or_not_at_all(here: Place, folder: Path) -> None:
    report = folder / "report.md"
    assert run("report", here.settings, "--output report.md").exit_code == 0
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    before = report.read_bytes()
    (folder / "link.md").symlink_to(report)
    assert run("report", here.settings, "--output link.md --lang ko").exit_code == 0
    assert (folder / "link.md").is_symlink()
    assert report.read_bytes() != before
    before = report.read_bytes()

    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    with_limit = subprocess.run(
        ["callytics", "report", "--output", "report.md"],
        env={**os.environ, **KEY, **environment(here.settings)},
        cwd=folder,
        preexec_fn=small_files_only,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (with_limit.returncode, with_limit.stderr.count("\n")) == (1, 1)
    assert with_limit.stderr.startswith("Error: ")
    assert "File too large" in with_limit.stderr
    assert report.read_bytes() == before
    assert [path.name for path in folder.glob(".report*")] == []


def test_a_report_goes_into_a_pipe(here: Place, folder: Path) -> None:
    with process("report", here.settings, folder, "--output /dev/stdout --format md") as command:
        written, _errors = command.communicate()
    assert written.startswith(b"# ")


def test_a_server_that_is_not_there_is_not_stopped(folder: Path) -> None:
    for name in ("nowhere", "."):
        assert error_of(run(f"server stop {name}", None)).endswith("holds no private PostgreSQL: nothing was done")
    assert not (folder / "nowhere").exists()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make commands believe that somebody is there to answer."""

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    class System:
        stdin = Terminal

    monkeypatch.setattr(import_commands, "sys", System)


def asked(here: Place, arguments: str, answer: str) -> Result:
    return CliRunner().invoke(cli, ["import", *arguments.split()], env=environment(here.settings), input=answer)


QUESTION = "holds calls already: add these to them? [y/N]"


@pytest.mark.usefixtures("terminal")
def test_an_import_asks_last(here: Place, folder: Path) -> None:
    """Neither what is refused nor what is there already is asked about; who says no has nothing left behind."""
    before = sorted(path.name for path in folder.rglob("*"))
    known = asked(here, "calls.sqlite", "")
    assert (known.exit_code, QUESTION in known.output) == (0, False), known.output
    for arguments in ("later.sqlite", "absent.sqlite", "new.sqlite --timezone Mars/Olympus", "new.sqlite new.sqlite2"):
        refused = asked(here, arguments, "")
        assert (refused.exit_code, QUESTION in refused.output) == (1, False), refused.output
    no = asked(here, "new.sqlite", "n\n")
    assert (no.exit_code, QUESTION in no.stderr) == (1, True), no.output
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert execute(here.settings, "select count(*) from imports.runs") == [(2,)]
    yes = asked(here, "new.sqlite", "y\n")
    assert (yes.exit_code in (0, 3), QUESTION in yes.stderr) == (True, True), yes.output


@pytest.mark.usefixtures("terminal")
def test_an_undo_asks_only_what_can_be_done(here: Place, folder: Path) -> None:
    result = run("undo", here.settings, "7")
    assert (result.stdout, error_of(result).startswith("there is no import 7: ")) == ("", True)
