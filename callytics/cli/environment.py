"""Commands for the settings, the schema and the state of the database."""

from __future__ import annotations

import json
from pathlib import Path

import click

from callytics import settings
from callytics.schema import doctor as doctors
from callytics.schema.migrate import migrate as migrate_database
from callytics.settings import Settings


@click.group()
def env() -> None:
    """The settings in .env and the environment."""


@env.command("init")
@click.pass_obj
def env_init(env_file: Path) -> None:
    """Write a new .env with strong random passwords, for your eyes only."""
    settings.init(env_file)
    click.echo(f"{env_file} written (mode 0600): set POSTGRES_HOST, then run 'callytics env check'")


@env.command("check")
@click.pass_obj
def env_check(env_file: Path) -> None:
    """Name everything that is wrong with the settings, and what to do."""
    _values, problems = settings.read(env_file=env_file)
    for problem in problems:
        click.echo(f"{problem.level}: {problem.text}")
    errors = sum(problem.level == "error" for problem in problems)
    click.echo(f"{errors} to correct" if errors else "The settings are complete.")
    if errors:
        raise click.exceptions.Exit(1)


@env.command("show")
@click.pass_obj
def env_show(env_file: Path) -> None:
    """Print the settings in force, passwords masked."""
    values, _problems = settings.read(env_file=env_file)
    for name, value in settings.show(values):
        click.echo(f"{name}={value}")


@click.command()
@click.pass_obj
def migrate(env_file: Path) -> None:
    """Bring the database's tables to where this version needs them."""
    applied = migrate_database(Settings.load(env_file=env_file), report=click.echo)
    click.echo(f"{len(applied)} migrations applied" if applied else "Every migration is applied already")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.pass_obj
def doctor(env_file: Path, as_json: bool) -> None:
    """Examine the database as the application meets it, and say what to do.

    Writes nothing. Exit codes: 0 no error, 1 errors found.
    """
    examined = doctors.examine(Settings.load(env_file=env_file))
    if as_json:
        click.echo(json.dumps(examined.as_dict(), ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(doctors.lines(examined)))
    raise click.exceptions.Exit(examined.exit_code)
