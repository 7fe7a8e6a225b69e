"""Write the parts of the manual that the program knows best: help texts and the API's reference.

Each stands in its page between ``<!-- generated: WHAT -->`` and ``<!-- end -->``. The comments show neither on the site
nor on a forge, so that prose in either language can stand around them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from callytics.api import create_app
from callytics.cli import cli
from callytics.settings import ServiceSettings, Settings

MANUAL = Path(__file__).parents[1] / "docs"
PART = re.compile(r"(^<!-- generated: (\w+) ?(.*?) -->\n).*?(^<!-- end -->$)", re.MULTILINE | re.DOTALL)
WIDTH = 78


def every_command(command: click.Command = cli, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, those of groups too, in the order of the help."""
    yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from every_command(command.commands[name], *path, name)


def help_text(command: str) -> str:
    """Return what ``callytics … --help`` prints, as a block with its prompt."""
    arguments = [*command.split()[1:], "--help"]
    shown = CliRunner().invoke(cli, arguments, prog_name="callytics", terminal_width=WIDTH).output
    return f"```console\n$ {command} --help\n{shown.strip()}\n```\n"


@cache
def openapi() -> Mapping[str, Any]:
    """Return the API's description of itself; no server is asked for it."""
    variables = {
        **dict.fromkeys(("POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER"), "anything"),
        "POSTGRES_PASSWORD": "no connection is made",
        "JWT_SECRET_KEY": "no token is signed with this key",
    }
    service = ServiceSettings.load(variables, env_file=None)
    return create_app(Settings.load(variables, env_file=None), service).openapi()


GENERATED: Mapping[str, Callable[[str], str]] = {"help": help_text}


def written(page: str) -> str:
    """Return a page with its generated parts as they should be."""
    return PART.sub(lambda part: part[1] + GENERATED[part[2]](part[3]) + part[4], page)


def update() -> None:
    """Write the generated parts of every page of the manual, in every language."""
    for path in MANUAL.rglob("*.md"):
        page = path.read_text(encoding="utf-8")
        path.write_text(written(page), encoding="utf-8")


if __name__ == "__main__":
    update()
