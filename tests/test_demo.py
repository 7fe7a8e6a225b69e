"""scripts/demo works on a fresh clone, twice, for root and for a user, with PostgreSQL installed or without."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.needs import lacking
from tests.support.places import REPOSITORY

SYSTEM_SERVERS = Path("/usr/lib/postgresql")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The working tree as git would clone it, changes that are not committed included."""
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPOSITORY, capture_output=True)
    if listed.returncode:
        lacking("the tests do not run in a git checkout")
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        source, target = REPOSITORY / name, tmp_path / "clone" / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    return tmp_path / "clone"


@pytest.fixture
def demo(clone: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A way to run scripts/demo in the clone, as another account if told how; its server ends with the test."""
    last: tuple[str, ...] = ()

    def run(*account: str, **changes: str) -> str:
        nonlocal last
        last = account
        command = [*account, "scripts/demo", "50"]
        done = subprocess.run(command, cwd=clone, env=login(tmp_path, **changes), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    stop = [*last, clone / ".venv/bin/callytics", "server", "stop", "--remove", ".demo"]
    subprocess.run(stop, cwd=clone, env=login(tmp_path), check=True)


def login(home: Path, **changes: str) -> Mapping[str, str]:
    """Return the environment that a fresh login has."""
    return {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"} | changes


def check(clone: Path, said: str) -> None:
    """Check that what the demo says at its end is true."""
    assert "==> Done: 50 calls of each of three generations are in PostgreSQL, every value compared" in said
    assert (clone / ".demo/report.md").read_text(encoding="utf-8").startswith("# ")
    connect = re.search(r"^Connect: \((.*)\)$", said, re.MULTILINE)
    assert connect
    count = ["sh", "-c", f"{connect[1]} -XAtc 'SELECT count(*) FROM audio_files'"]
    assert subprocess.run(count, cwd=clone, capture_output=True, text=True, check=True).stdout == "150\n"


@pytest.mark.demo
@pytest.mark.slow
def test_demo_runs_twice(clone: Path, demo: Callable[..., str]) -> None:
    """As whoever runs the tests, while the shell still points at another database."""
    elsewhere = {"POSTGRES_HOST": "production.invalid", "PGHOST": "production.invalid"}
    check(clone, demo(**elsewhere))
    again = demo(**elsewhere)
    check(clone, again)
    assert again.count("already imported") == 4


@pytest.mark.demo
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide the machine's server and become a user")
def test_demo_runs_for_a_user_without_postgres(clone: Path, demo: Callable[..., str], tmp_path: Path) -> None:
    """The server comes as a wheel, and nothing needs root."""
    hide = f"[ ! -d {SYSTEM_SERVERS} ] || mount -t tmpfs none {SYSTEM_SERVERS}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", hide], check=False).returncode:
        lacking("root may not mount here")
    nobody = pwd.getpwnam("nobody")
    for path in (tmp_path, clone, *clone.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for parent in tmp_path.parents[:3]:
        parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o055)
    become = f"setpriv --reuid={nobody.pw_uid} --regid={nobody.pw_gid} --clear-groups"
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
