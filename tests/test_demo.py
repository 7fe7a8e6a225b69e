"""scripts/demo works on a fresh clone, twice, for root and for a user, with PostgreSQL installed or without."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from callytics.trial.sample import write_sample
from tests.support.needs import lacking
from tests.support.places import REPOSITORY

SYSTEM_SERVERS = Path("/usr/lib/postgresql")


def cloned(folder: Path) -> Path:
    """Return the working tree as git would clone it, changes that are not committed included."""
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPOSITORY, capture_output=True)
    if listed.returncode:
        lacking("the tests do not run in a git checkout")
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        source, target = REPOSITORY / name, folder / "clone" / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    return folder / "clone"


@contextmanager
def demonstration(clone: Path, home: Path) -> Iterator[Callable[..., str]]:
    """Lend a way to run scripts/demo in a clone, as another account if told how; its servers end with the block."""
    last: tuple[str, ...] = ()

    def run(*account: str, arguments: Sequence[str | Path] = ("50",), **changes: str) -> str:
        nonlocal last
        last = account
        command = [*account, "scripts/demo", *arguments]
        done = subprocess.run(
            command,
            cwd=clone,
            env=login(home, **changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    try:
        yield run
    finally:
        for folder in (".demo", ".demo-files"):
            if (clone / folder / ".callytics-server").exists():
                stop = [*last, clone / ".venv/bin/callytics", "server", "stop", "--remove", folder]
                subprocess.run(stop, cwd=clone, env=login(home), check=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that is fresh for the first test, and used for the others: installing takes longer than they do."""
    return cloned(tmp_path_factory.mktemp("used"))


@pytest.fixture
def demo(clone: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A way to run scripts/demo in that clone."""
    with demonstration(clone, tmp_path) as run:
        yield run


def login(home: Path, **changes: str) -> Mapping[str, str]:
    """Return the environment that a fresh login has."""
    return {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"} | changes


def check(clone: Path, said: str) -> None:
    """Check that what the demo says at its end is true."""
    assert "==> Done: 50 calls of each of three generations are in PostgreSQL, every value compared" in said
    assert "wrong zone" not in said
    assert (clone / ".demo/report.md").read_text(encoding="utf-8").startswith("# ")
    assert recordings(clone, said) == 150


def recordings(clone: Path, said: str) -> int:
    """Count the recordings by the command that the demo names at its end."""
    connect = re.search(r"^Connect: \((.*)\)$", said, re.MULTILINE)
    assert connect
    count = ["sh", "-c", f"{connect[1]} -XAtc 'SELECT count(*) FROM audio_files'"]
    return int(subprocess.run(count, cwd=clone, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user's: two SQLite files, and something that is none."""
    folder = tmp_path_factory.mktemp("own files")
    write_sample(folder / "one.sqlite", generation=1, calls=20, seed=3)
    write_sample(folder / "it's two.db", generation=2, calls=20, seed=4)
    (folder / "notes.txt").write_text("SQLite files lie here")
    return folder


@pytest.mark.demo
@pytest.mark.slow
def test_demo_imports_own_files(clone: Path, demo: Callable[..., str], own_files: Path) -> None:
    """A folder stands for the SQLite files in it; they stay as they are, and a second run changes nothing."""
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in own_files.iterdir()}
    said = demo(arguments=("--timezone", "Asia/Seoul", own_files))
    assert "Done: 2 file(s) are in PostgreSQL" in said
    assert re.search(r"own files.*: takes it's two.db, one.sqlite; leaves notes.txt", said)
    assert recordings(clone, said) == 40
    assert (clone / ".demo-files/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not (clone / ".demo").exists()
    again = demo(arguments=("--timezone", "Asia/Seoul", own_files))
    assert "already imported" in again
    assert recordings(clone, again) == 40
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in own_files.iterdir()} == before


@pytest.mark.demo
@pytest.mark.slow
def test_a_demo_that_fails_says_how_to_go_on(clone: Path, demo: Callable[..., str], tmp_path: Path) -> None:
    """It looks like SQLite and is not."""
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"SQLite format 3\0" + bytes(4096))
    with pytest.raises(AssertionError, match=re.escape("callytics server stop .demo-files --remove")):
        demo(arguments=(broken,))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.sqlite"], "missing.sqlite does not exist: check the path"),
        (["{own}/notes.txt"], "notes.txt is not an SQLite database: is it the right file?"),
        (["{own}/one.sqlite", "{own}/notes.txt"], "notes.txt is not an SQLite database: is it the right file?"),
        (["{empty}"], "{empty} is a folder without an SQLite file: name one that holds some, or a file"),
        (["--calls", "none"], "--calls takes a number from 1 to 9999999, not none"),
        (["0"], "--calls takes a number from 1 to 9999999, not 0"),
        (["--calls"], "--calls lacks its value: see scripts/demo --help"),
        (["--calls", "5", "{own}"], "--calls is for the sample calls: leave it out where files are given"),
        (["--timezone", "Asia/Seoul"], "--timezone is for files: the sample calls have one"),
        (["--timezone", "Mars/Olympus", "{own}"], "Mars/Olympus is not a time zone: use a name such as Asia/Seoul"),
        (["--timezone=Mars/Olympus", "{own}"], "Mars/Olympus is not a time zone: use a name such as Asia/Seoul"),
        (["--calls=none"], "--calls takes a number from 1 to 9999999, not none"),
        (["--fast"], "there is no option --fast: see scripts/demo --help"),
    ],
)
def test_arguments_are_checked_first(tmp_path: Path, own_files: Path, arguments: list[str], said: str) -> None:
    """Nothing is installed, started or emptied for a command line that can't be meant."""
    for name in ("demo", "environment"):
        place = tmp_path / "clone/scripts" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((REPOSITORY / "scripts" / name).read_bytes())
    names = {"own": str(own_files), "empty": str(tmp_path / "clone/scripts")}
    command = ["bash", tmp_path / "clone/scripts/demo", *(argument.format(**names) for argument in arguments)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.endswith(f"{said.format(**names)}\n")
    assert sorted(path.name for path in (tmp_path / "clone").rglob("*")) == ["demo", "environment", "scripts"]


def test_help_tells_how_to_use_it() -> None:
    done = subprocess.run(["bash", REPOSITORY / "scripts/demo", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: scripts/demo [--calls N]\n")
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.demo
@pytest.mark.slow
def test_demo_runs_as_often_as_one_likes(clone: Path, demo: Callable[..., str], tmp_path: Path) -> None:
    """As whoever runs the tests, while the shell still points at another database; after its server is deleted, too."""
    elsewhere = {"POSTGRES_HOST": "production.invalid", "PGHOST": "production.invalid"}
    check(clone, demo(**elsewhere))
    again = demo(**elsewhere)
    check(clone, again)
    assert again.count("already imported") == 4
    delete = [clone / ".venv/bin/callytics", "server", "stop", ".demo", "--remove", "--yes"]
    subprocess.run(delete, cwd=clone, env=login(tmp_path), check=True)
    check(clone, demo(**elsewhere))
    assert [path.name for path in clone.glob(".demo.*/report.md")] == ["report.md"]


@pytest.mark.demo
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide the machine's server and become a user")
def test_demo_runs_for_a_user_without_postgres(tmp_path: Path) -> None:
    """On a fresh clone: the server comes as a wheel, and nothing needs root."""
    hide = f"[ ! -d {SYSTEM_SERVERS} ] || mount -t tmpfs none {SYSTEM_SERVERS}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", hide], check=False).returncode:
        lacking("root may not mount here")
    clone, nobody = cloned(tmp_path), pwd.getpwnam("nobody")
    for path in (tmp_path, clone, *clone.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for parent in tmp_path.parents[:3]:
        parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o055)
    become = f"setpriv --reuid={nobody.pw_uid} --regid={nobody.pw_gid} --clear-groups"
    with demonstration(clone, tmp_path) as demo:
        said = demo("unshare", "--mount", "sh", "-c", f'({hide}) && exec {become} "$@"', "sh")
        assert "Install PostgreSQL in .venv, this machine has none" in said
        check(clone, said)


def in_environment_script(commands: str, path: str) -> subprocess.CompletedProcess[str]:
    """Run shell commands after scripts/environment, with the programs of ``path``."""
    script = f". '{REPOSITORY}/scripts/environment'; {commands}"
    return subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script], env={"PATH": path}, capture_output=True, text=True
    )


def test_old_python_is_said(tmp_path: Path) -> None:
    result = in_environment_script("find_python", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("Error: Python 3.11 or newer is not on this machine: install it")


def test_python_without_venv_is_said(tmp_path: Path) -> None:
    """Debian's python3 without python3-venv knows its version, but makes no environment."""
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\n[ "$1" = -c ]\n')
    python.chmod(0o755)
    result = in_environment_script(f"make_environment {tmp_path}/venv", f"{tmp_path}:/bin:/usr/bin")
    assert result.returncode == 1
    assert result.stderr == (
        f"Error: {python} can't make virtual environments: "
        "install venv (on Debian and Ubuntu: apt-get install python3-venv)\n"
    )
    assert not (tmp_path / "venv").exists()
