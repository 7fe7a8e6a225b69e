"""The command line as users have it: in this process, or as a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from callytics.cli import cli
from callytics.settings import Settings
from tests.support.needs import lacking
from tests.support.places import REPOSITORY

PROGRAM = (sys.executable, "-m", "callytics.cli")


def environment(settings: Settings, *, owner: bool = True) -> dict[str, str]:
    """Return the variables that lead to a database; without ``owner``, as the application's role only."""
    variables = {
        "POSTGRES_HOST": ",".join(settings.hosts),
        "POSTGRES_PORT": str(settings.port),
        "POSTGRES_DB": settings.database,
        "POSTGRES_USER": settings.user,
        "POSTGRES_PASSWORD": settings.password,
        "POSTGRES_OWNER_USER": settings.owner_user if owner else None,
        "POSTGRES_OWNER_PASSWORD": settings.owner_password if owner else None,
        "POSTGRES_SSLMODE": settings.sslmode,
        "POSTGRES_SSLROOTCERT": settings.sslrootcert,
    }
    return {name: value for name, value in variables.items() if value}


def invoke(settings: Settings, *arguments: object, owner: bool = True, **options: Any) -> Result:
    """Run a command in this process; options go to click's runner."""
    variables = environment(settings, owner=owner)
    return CliRunner().invoke(cli, [*map(str, arguments)], env=variables, prog_name="callytics", **options)


def start(
    settings: Settings,
    *arguments: object,
    folder: Path,
    program: tuple[str, ...] = PROGRAM,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.Popen[str]:
    """Start a command in a folder, as a process that leads a group of its own; options go to Popen.

    ``env`` are variables that it has besides those of the database.
    """
    return subprocess.Popen(
        [*program, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment(settings), "PYTHONPATH": str(REPOSITORY), **(env or {})},
        start_new_session=True,
        **{
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        },
    )


def with_programs() -> dict[str, str]:
    """Return the variables with which a shell finds the programs of the package."""
    programs = str(Path(sys.executable).parent)
    if not (shutil.which("callytics", path=programs) and shutil.which("yoyo", path=programs)):
        lacking("the package is not installed: pip install -e .")
    return {"PATH": f"{programs}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
