"""The manual's commands are the program's."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from callytics.cli import cli
from callytics.exceptions import CallyticsError, Interrupted
from callytics.importer import EXIT_CODES
from scripts.manual import PART, every_command, heading, with_every_command, written
from tests.support.manual import BLOCK, ENGLISH, ENGLISH_PAGES, KOREAN, KOREAN_PAGES, console, rows, text_of

COMMANDS = [page for page in [*ENGLISH_PAGES, *KOREAN_PAGES] if page.name == "commands.md"]
both = pytest.mark.parametrize("manual", [ENGLISH, KOREAN], ids=["English", "Korean"])


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="callytics", terminal_width=78)


@pytest.mark.parametrize("page", [*ENGLISH_PAGES, *KOREAN_PAGES], ids=lambda page: "/".join(page.parts[-2:]))
def test_generated_parts_are_up_to_date(page: Path) -> None:
    """If this fails, run 'scripts/docs --update'."""
    assert text_of(page) == written(text_of(page))


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: page.parent.name)
def test_every_command_has_its_help_under_its_heading(page: Path) -> None:
    """If this fails, run 'scripts/docs --update'; a command that is gone takes its section along by hand."""
    found = re.findall(r"^##+ .+\n\n<!-- generated: help .+ -->\n", text_of(page), re.MULTILINE)
    assert found == [heading(path) for path in every_command()]
    for section in found:
        assert with_every_command(text_of(page).replace(f"{section}", "", 1)).count(section) == 1


def test_help_that_is_shown_is_what_the_program_prints() -> None:
    helps = {command: output for command, output in console(ENGLISH) if command.endswith("--help")}
    assert [*helps] == [" ".join(["callytics", *path, "--help"]) for path in every_command()]
    assert helps == {command: run(*command.split()[1:]).output.strip("\n") for command in helps}


@both
def test_command_lines_are_understood(manual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, options and values are parsed; nothing is done."""
    monkeypatch.setattr(click.Command, "invoke", lambda command, context: None)
    fenced = "".join(text for _, text in BLOCK.findall(manual))
    lines = re.findall(r"^(?:\$ )?callytics (.+?)(?:  +#.*)?$", fenced, re.MULTILINE)
    assert len(lines) > 20
    assert [line for line in lines if run(*line.split()).exit_code] == []


@both
def test_exit_codes_are_those_of_the_program(manual: str) -> None:
    listed = {int(cells[0]) for cells in rows(manual) if cells[0].isdecimal()}
    assert listed == {*EXIT_CODES.values(), CallyticsError.exit_code, click.UsageError.exit_code, Interrupted.exit_code}


def test_generated_parts_end() -> None:
    """A part without an end would be left as it is."""
    manual = ENGLISH + KOREAN
    assert len(PART.findall(manual)) == len(re.findall("<!-- generated: ", manual))
