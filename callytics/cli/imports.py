"""Commands that bring SQLite files into PostgreSQL, prove it and report it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from callytics.importer import report as reports
from callytics.importer.profile import Profile
from callytics.importer.progress import Display
from callytics.importer.runs import (
    Options,
    Outcome,
    check_target,
    holds_calls,
    import_files,
    inspect_file,
    verify_files,
)
from callytics.settings import Settings

FOLDER = click.Path(file_okay=False, path_type=Path)
TIMEZONE = click.option(
    "--timezone", default="UTC", show_default=True, help="Where timestamps without offset were written."
)


def import_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what inspect, import and verify have in common."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables."),
        click.option("--quiet", is_flag=True, help="Show no progress."),
        click.option(
            "--snapshots", type=FOLDER, default="callytics-imports", show_default=True, help="Where snapshots go."
        ),
        click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@click.command()
@import_options
@TIMEZONE
def inspect(files: tuple[Path, ...], snapshots: Path, timezone: str, quiet: bool, as_json: bool) -> None:
    """Tell what is in SQLite files and what would become of it.

    Needs no server, and writes nothing that stays.
    """
    _inspect(files, Options(snapshots, timezone), quiet, as_json)


def _inspect(files: tuple[Path, ...], options: Options, quiet: bool, as_json: bool) -> list[Profile]:
    with Display(quiet) as display:
        profiles = [inspect_file(file, options, display.update) for file in files]
    if as_json:
        click.echo(reports.as_json(profiles))
    else:
        click.echo("\n\n".join("\n".join(reports.profile_lines(profile)) for profile in profiles))
    return profiles


@click.command("import")
@import_options
@TIMEZONE
@click.option("--dry-run", is_flag=True, help="Check the target, inspect the files, and stop.")
@click.option("--strict", is_flag=True, help="Refuse files of which anything is rejected, normalised or unmapped.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Tables side by side.")
@click.option("--again", is_flag=True, help="Import a file that changed since its import as new rows.")
@click.option("--yes", is_flag=True, help="Do not ask before importing into a database that holds calls.")
@click.pass_obj
def import_command(
    env_file: Path,
    files: tuple[Path, ...],
    snapshots: Path,
    timezone: str,
    quiet: bool,
    as_json: bool,
    dry_run: bool,
    strict: bool,
    jobs: int,
    again: bool,
    yes: bool,
) -> None:
    """Import SQLite files: snapshot, load, verify every value.

    Exit codes: 0 all loaded and verified, 1 refused or failed, 2 usage, 3 done with rejected rows, 4 differences
    found, 130 interrupted.
    """
    target, options = Settings.load(env_file=env_file), Options(snapshots, timezone, strict, jobs, again)
    if dry_run:
        check_target(target)
        for profile in _inspect(files, options, quiet, as_json):
            if strict:
                profile.refuse_unclean()
        return
    if not yes and sys.stdin.isatty() and holds_calls(target):
        click.confirm(f"{target.database} holds calls already: add these to them?", abort=True, err=True)
    with Display(quiet) as display:
        outcome = import_files(target, files, options, display.update)
    _finish(outcome, as_json)


@click.command()
@import_options
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Tables side by side.")
@click.pass_obj
def verify(
    env_file: Path,
    files: tuple[Path, ...],
    snapshots: Path,
    quiet: bool,
    as_json: bool,
    jobs: int,
) -> None:
    """Compare every value of imported files with what is there now.

    Exit codes: 0 all values equal, 1 refused or failed, 2 usage, 3 equal but for rejected rows, 4 differences found,
    130 interrupted.
    """
    with Display(quiet) as display:
        outcome = verify_files(Settings.load(env_file=env_file), files, Options(snapshots, jobs=jobs), display.update)
    _finish(outcome, as_json)


def _finish(outcome: Outcome, as_json: bool) -> None:
    click.echo(reports.as_json(outcome) if as_json else "\n".join(reports.outcome_lines(outcome)))
    raise click.exceptions.Exit(outcome.exit_code)


@click.command()
@click.option("--lang", "language", type=click.Choice(["en", "ko"]), default="en", show_default=True, help="Language.")
@click.option("--import", "run", type=int, help="Report this import only.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@click.pass_obj
def report(env_file: Path, language: str, run: int | None, as_json: bool, output: Path | None) -> None:
    """Print the completion report of the imports as Markdown."""
    target = Settings.load(env_file=env_file)
    if as_json:
        text = reports.as_json(reports.recorded_imports(target, run))
    else:
        text = reports.completion_report(target, language=language, run=run)
    if output:
        output.write_text(text, encoding="utf-8")
        click.echo(f"{output} written")
    else:
        click.echo(text)
