"""Callytics on an application host: installed from this checkout, its schema migrated, its roles' privileges right."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import (
    FactBase,
    FileUploadCommand,
    FunctionCommand,
    QuoteString,
    StringCommand,
    operation,
)
from pyinfra.api.command import PyinfraCommand

# A change of these installs again. The README is only metadata: editing it must not restart every service.
SOURCES = ("callytics", "migrations", "setup.cfg", "pyproject.toml")
METADATA_FILES = ("README.md", "LICENSE")
UNWANTED = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
# The environment wins over env files, and sudo or sshd may pass one on: commands run without it.
CLEAN = "cd / && env -i PATH=/usr/bin:/bin LANG=C.UTF-8"


@dataclass(frozen=True)
class Checkout:
    """The source tree that is deployed, and the folder beside it that keeps the wheels built of it."""

    folder: Path
    wheels: Path

    def digest(self) -> str:
        """Return a name for the sources as they are now: the same content has the same name."""
        digest = hashlib.sha256()
        for path in self._files():
            # The name, too: the same content in another file is another program.
            digest.update(f"{path.relative_to(self.folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    @property
    def release(self) -> str:
        """The release's name below the releases' folder, which the sources decide: releases/0.3.0-1a2b3c4d5e6f."""
        text = (self.folder / "callytics" / "__init__.py").read_text()
        found = re.search(r'^__version__ = "([\w.+-]+)"$', text, re.MULTILINE)
        assert found, "callytics/__init__.py names no version"
        return f"releases/{found[1]}-{self.digest()[:12]}"

    def wheel(self, digest: str) -> Path | None:
        """Return the wheel of the sources with this digest, if it was built."""
        return next((self.wheels / digest).glob("*.whl"), None)

    def build(self, digest: str) -> None:
        """Build the wheel, unless it was built before; raises CalledProcessError if pip fails."""
        if self.wheel(digest):
            return
        # setuptools would leave build/ in the checkout, and pack what an earlier build left there.
        with tempfile.TemporaryDirectory() as folder:
            copy, built = Path(folder, "sources"), Path(folder, "built")
            self._copy_to(copy)
            command = [
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "--quiet",
                "--no-deps",
                "--wheel-dir",
                str(built),
                str(copy),
            ]
            subprocess.run(command, check=True)
            # Only the newest is ever installed.
            shutil.rmtree(self.wheels, ignore_errors=True)
            shutil.copytree(built, self.wheels / digest)

    def _files(self) -> Iterator[Path]:
        for source in SOURCES:
            path = self.folder / source
            found = sorted(path.rglob("*")) if path.is_dir() else [path]
            yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)

    def _copy_to(self, folder: Path) -> None:
        folder.mkdir()
        for source in (*SOURCES, *METADATA_FILES):
            path = self.folder / source
            if path.is_dir():
                shutil.copytree(path, folder / source, ignore=UNWANTED)
            elif path.exists():
                shutil.copy2(path, folder)


class InstalledDigest(FactBase[str]):
    """The digest of the sources that are installed in a virtual environment, or nothing."""

    default = str

    def command(self, folder: str) -> str:
        """Return the command that asks; an environment without the command counts as not installed."""
        return f"[ ! -x {folder}/bin/callytics ] || cat {folder}/installed 2>/dev/null || true"


class Check(FactBase[Any]):
    """The JSON document that a command with ``--check`` answers with, as the owner sees the database.

    It is None if there is no command yet, or if it could not look. The command is then run itself, and says why.
    """

    abstract = True
    verb: str

    def command(self, folder: str, env_file: str) -> StringCommand:
        """Return the command that asks; it succeeds even if there are differences."""
        return StringCommand(
            f"if [ -x {folder}/bin/callytics ] && [ -f {env_file} ]; then",
            _callytics(folder, env_file, f"{self.verb} --check --json 2>/dev/null"),
            "; fi; true",
        )

    def process(self, output: list[str]) -> Any:
        """Return the document; an older installation does not know the option and prints nothing."""
        return json.loads("\n".join(output)) if output else None


class MigrationsCheck(Check):
    """Which migrations are missing."""

    verb = "migrate"


class GrantsCheck(Check):
    """How the roles' privileges differ from what the migrations give."""

    verb = "grants"


@operation()
def installed(checkout: Checkout, folder: str) -> Generator[PyinfraCommand, None, None]:
    """Install this checkout into the virtual environment ``folder``, with its dependencies.

    The note of what is installed is written last, so that the next run repeats an installation that was killed. The
    wheel is built on the control machine, once for all hosts: they need no compiler and no checkout.
    """
    digest = checkout.digest()
    if host.get_fact(InstalledDigest, folder=folder) == digest:
        host.noop("this checkout is installed")
        return
    yield FunctionCommand(checkout.build, (digest,), {})
    wheel = checkout.wheel(digest)
    assert wheel is not None, "pip wheel ended well without a wheel"
    pip, dest = f"{folder}/bin/python -m pip --quiet --disable-pip-version-check", f"{folder}/{wheel.name}"
    # The note goes first: a run that is killed from here on leaves none, and the next one repeats it.
    yield StringCommand(f"umask 022 && rm -f {folder}/installed && {{ {pip} --version >/dev/null 2>&1 ||",
                        f"python3 -m venv --clear {folder}; }}")  # fmt: skip
    yield FileUploadCommand(str(wheel), dest)
    # The version may be the same while the sources are not, so pip has to be forced; dependencies must not be.
    yield StringCommand("umask 022 &&", pip, "install --force-reinstall --no-deps", QuoteString(dest))
    yield StringCommand("umask 022 &&", pip, "install", QuoteString(dest))
    yield StringCommand(f"rm -f {folder}/*.whl && echo {digest} >{folder}/installed")


@operation()
def migrated(folder: str, env_file: str) -> Generator[StringCommand, None, None]:
    """Apply the missing migrations, as the owner; a migration that was edited after it was applied fails the run.

    Run it once for all application hosts: they share one database.
    """
    found = host.get_fact(MigrationsCheck, folder=folder, env_file=env_file)
    if found and found["ok"]:
        host.noop("every migration is applied")
    else:
        yield _callytics(folder, env_file, "migrate")


@operation()
def granted(folder: str, env_file: str) -> Generator[StringCommand, None, None]:
    """Leave the roles exactly the privileges that the migrations give: grants what is missing, revokes the rest.

    It comes after :func:`migrated`, which may add tables, and fails if the owner's login does not own them.
    """
    found = host.get_fact(GrantsCheck, folder=folder, env_file=env_file)
    if found and found["ok"]:
        host.noop("the roles' privileges are as the migrations say")
    else:
        yield _callytics(folder, env_file, "grants")


def _callytics(folder: str, env_file: str, arguments: str) -> StringCommand:
    return StringCommand(f"{CLEAN} {folder}/bin/callytics --env-file {env_file} {arguments}")
