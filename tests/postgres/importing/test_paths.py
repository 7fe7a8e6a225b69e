"""Files, folders and settings whose names are any bytes: each command works with them, and shows them harmlessly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from callytics.exceptions import Interrupted, SourceError
from callytics.postgres.text import path_text, quoted, shell_word, text_path
from callytics.report import LANGUAGES, completion_report
from tests.support.commands import PROGRAM, environment
from tests.support.installation import Installation
from tests.support.places import REPOSITORY

pytestmark = pytest.mark.slow

CALLS = """
create table audio_properties (id integer primary key autoincrement, file_path text not null, file_name text not null);
insert into audio_properties values (1, '/c/1.wav', '1.wav');
create table utterances (id integer primary key autoincrement, audio_properties_id integer, speaker text, text text);
insert into utterances (audio_properties_id, text)
values (1, '여보세요'), (1, '네'), (1, '요금'), (1, '요'), (1, '감사합니다'), (1, '네');
create table 메모 (x text);
insert into 메모 values ('y');
"""
MORE = "insert into utterances (audio_properties_id, text) values (1, '새로')"
# As a name may be on Linux: what an old Korean Windows wrote, an escape sequence, marks that turn the direction of
# writing, line breaks, quotes, and as long as it can be.
NAMES = {
    "cp949": "통화 녹취.sqlite".encode("cp949"),
    "bytes": b"\xff\xfe\x80.sqlite",
    "escape": b"\x1b[31mred\x1b]0;title\x07.sqlite",
    "bidi": "\u202egnp.sqlite\u2066".encode(),
    "line breaks": "two\nlines\r\u2028three.sqlite".encode(),
    "quotes": b'it\'s "a" $HOME `x` \\ %s {0} %(x)s.sqlite',
    "like a URI": b"file:%2Ftmp%2Fa?mode=memory#b.sqlite",
    "longest": b"\xb0\xa1" * 124 + b".sqlite",
    "two forms": "가.sqlite".encode() + b"\xb0",
}


def run(installation: Installation, *arguments: bytes | str, code: int = 0) -> str:
    """Run a command as a process of its own in the installation's folder; its output is one that a terminal takes."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=installation.folder,
        env=os.environ | environment(installation.settings) | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode()
    assert (done.returncode, "Traceback" in said) == (code, False), said
    lines = said.replace("\n", "")
    assert lines.isprintable(), [c for c in lines if not c.isprintable()]
    return said


@pytest.fixture
def file(kind: str, installation: Installation) -> Path:
    """Write a file of a name into a folder of this name."""
    # Of both as long as can be SQLite opens none.
    folder = installation.folder / os.fsdecode(NAMES[kind][:100])
    folder.mkdir()
    return installation.write(CALLS, "plain.sqlite").rename(folder / os.fsdecode(NAMES[kind]))


def add_a_row(file: Path, installation: Installation) -> None:
    """Be the application, which has a shorter name for the file: SQLite needs room for that of its journal."""
    name = "being-written.sqlite"
    shutil.copy(file, installation.folder / name)
    shutil.copy(installation.write(MORE, name), file)


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_is_on_record_exactly(file: Path, installation: Installation) -> None:
    installation.files = [file]
    installation.options = replace(installation.options, snapshots=file.parent / "snapshots")
    assert installation.import_().status == "verified"
    assert installation.verify().status == "verified"
    add_a_row(file, installation)
    with pytest.raises(SourceError, match="has changed since import 1"):
        installation.import_()
    assert installation.sync().changed == 1
    for language in LANGUAGES:
        for form in ("md", "html"):
            told = completion_report(installation.settings, language=language, format=form)
            assert not set(told) & set("\x1b\x07\r\u202e\u2066\u2028")
            told.encode()
    (recorded,) = json.loads(completion_report(installation.settings, format="json"))
    assert [os.fsencode(one["path"]) for one in recorded["sources"]] == [bytes(file)]
    assert installation.undo().changed == 10
    assert installation.import_().status == "verified"


@pytest.mark.parametrize("kind", ["cp949", "line breaks"])
def test_every_command_works_with_a_name(file: Path, installation: Installation) -> None:
    folder, snapshots = bytes(file.parent), (b"--snapshots", bytes(file.parent / "snapshots"))
    run(installation, "inspect", *snapshots, bytes(file))
    run(installation, "inspect", *snapshots, "--json", folder)
    run(installation, "import", "--dry-run", *snapshots, folder)
    run(installation, "import", *snapshots, bytes(file))
    run(installation, "verify", *snapshots, bytes(file))
    assert "already imported" in run(installation, "import", *snapshots, folder)
    add_a_row(file, installation)
    copy = folder + b"/copy-" + NAMES["bytes"]
    Path(os.fsdecode(copy)).write_bytes(file.read_bytes())
    assert "callytics sync --of 1" in run(installation, "import", *snapshots, copy, code=1)
    assert "1 row was changed" in run(installation, "sync", "--of", "1", *snapshots, copy)
    for suffix in (b".html", b".md", b".json"):
        run(installation, "report", "--output", folder + b"/report" + suffix)
    run(installation, "undo", "1", "--yes")
    settings = folder + b"/settings"
    for command in ("init", "check", "show"):
        run(installation, "--env-file", settings, "env", command)


def test_what_to_type_can_be_typed(installation: Installation) -> None:
    """The command that a message names leads a shell to the file, whatever its name."""
    for name in NAMES.values():
        word = shell_word(os.fsdecode(name))
        assert word.isprintable()
        told = subprocess.run(["bash", "-c", f"printf %s {word}"], stdout=subprocess.PIPE, check=True).stdout
        assert told == name


def test_an_unfinished_import_of_a_name_goes_on(installation: Installation) -> None:
    file = installation.write(CALLS, os.fsdecode(NAMES["cp949"]))
    installation.files = [file]

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("verify"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        installation.import_(stop)
    assert shell_word(file) in run(installation, "doctor", code=1)
    other = installation.write(CALLS.replace("감사", "고마움"), "other.sqlite")
    assert f"first run {quoted('callytics import', file)}" in run(installation, "import", other.name, code=1)
    assert "resuming import 1" in run(installation, "import", bytes(file))


def test_a_path_that_sqlite_does_not_open_is_said_to_be_too_long(installation: Installation) -> None:
    folder = installation.folder / ("n" * 250)
    folder.mkdir()
    file = installation.write(CALLS, "plain.sqlite")
    said = run(installation, "inspect", "--snapshots", f"{folder}/{'n' * 250}", bytes(file), code=1)
    assert "SQLite opens none of more than 504: name another folder with --snapshots" in said
    moved = file.rename(folder / ("n" * 250))
    assert "504: name the file after moving it to a shorter path" in run(installation, "inspect", bytes(moved), code=1)


@pytest.mark.parametrize("name", [*NAMES.values(), b"/a/plain.sqlite", "/a/녹취.sqlite".encode(), b"%41"])
def test_the_record_of_a_path_is_reversible(name: bytes) -> None:
    path = Path("/") / os.fsdecode(name)
    recorded = path_text(path)
    assert Path(text_path(recorded)) == path
    recorded.encode()
    assert recorded == str(path) or recorded.startswith("file:///")
