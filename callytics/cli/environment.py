"""Commands for the settings."""

from __future__ import annotations

from pathlib import Path

import click

from callytics import settings
from callytics.cli.boundary import Printing
from callytics.cli.terminal.tables import echo


@click.group()
def env() -> None:
    """Manage the settings in .env and the environment."""


@env.command("init")
@click.pass_obj
def env_init(env_file: Path) -> None:
    """Write a new .env with strong random passwords, readable only by you."""
    settings.init(env_file)
    echo([f"{env_file} written (mode 0600): POSTGRES_HOST is localhost, change it if PostgreSQL runs elsewhere"])


@env.command("check", cls=Printing)
@click.pass_obj
def env_check(env_file: Path) -> None:
    """Name everything that is wrong with the settings, and what to do."""
    _values, problems = settings.read(env_file=env_file)
    for problem in problems:
        echo([f"{problem.level}: {problem.text}"])
    errors = sum(problem.level == "error" for problem in problems)
    complete = "The settings are complete; 'callytics doctor' looks where they lead."
    echo([f"{errors} to correct" if errors else complete])
    if errors:
        raise click.exceptions.Exit(1)


@env.command("show", cls=Printing)
@click.pass_obj
def env_show(env_file: Path) -> None:
    """Print the settings in force, passwords masked, and where each is from: the environment, the file, a default."""
    echo(f"{name}={value}  # {source}" for name, value, source in settings.show(env_file=env_file))
