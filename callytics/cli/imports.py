"""Commands that bring SQLite files into PostgreSQL, prove it and report it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from callytics import report as reports
from callytics.cli.interrupt import ending_in_time
from callytics.cli.progress import Display
from callytics.importer.import_ import (
    INTERRUPTED,
    Options,
    Outcome,
    check_target,
    holds_calls,
    import_files,
    inspect_file,
    verify_files,
)
from callytics.importer.profile import Profile
from callytics.importer.sync import sync_files, sync_lines
from callytics.importer.undo import undo_import, undo_lines
from callytics.settings import Settings

FOLDER = click.Path(file_okay=False, path_type=Path)
JSON_HELP = "Print JSON instead of tables, and progress as JSON lines on stderr."
TIMEZONE = click.option(
    "--timezone", default="UTC", show_default=True, help="Where timestamps without offset were written."
)


def import_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what inspect, import and verify have in common."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help=JSON_HELP),
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
    with Display(quiet, events=as_json) as display:
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
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED):
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
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED):
        outcome = verify_files(Settings.load(env_file=env_file), files, Options(snapshots, jobs=jobs), display.update)
    _finish(outcome, as_json)


@click.command()
@import_options
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--ours", "choice", flag_value="ours", help="Keep rows that were changed in PostgreSQL as they are there."
)
@click.option(
    "--theirs", "choice", flag_value="theirs", help="Take SQLite's rows where they were changed in PostgreSQL."
)
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Tables side by side.")
@click.pass_obj
def sync(
    env_file: Path,
    files: tuple[Path, ...],
    snapshots: Path,
    quiet: bool,
    as_json: bool,
    dry_run: bool,
    choice: str | None,
    jobs: int,
) -> None:
    """Catch up with imported files that have changed since.

    Only what differs is written, in one transaction. Rows that were changed in PostgreSQL are not overwritten: they
    are listed, and nothing is written until --ours or --theirs decides.

    Exit codes: 0 all values equal, 1 refused or failed, 2 usage, 3 equal but for rejected rows, 4 rows were changed in
    PostgreSQL or differences found, 130 interrupted.
    """
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED):
        outcome = sync_files(
            Settings.load(env_file=env_file),
            files,
            Options(snapshots, jobs=jobs),
            display.update,
            choice=choice,
            dry_run=dry_run,
        )
    _end(outcome, sync_lines(outcome), as_json)


@click.command()
@click.argument("run", metavar="IMPORT", type=int)
@click.option("--force", is_flag=True, help="Delete also what was changed in PostgreSQL since, or added to its rows.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Tables side by side.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
@click.pass_obj
def undo(
    env_file: Path, run: int, force: bool, dry_run: bool, jobs: int, yes: bool, quiet: bool, as_json: bool
) -> None:
    """Take one import back: all its rows, and nothing else.

    IMPORT is its number, as the report has it. Other imports and what the application added stay. Rows that were
    changed in PostgreSQL, or that were added there and refer to the import's, are listed, and nothing is deleted until
    --force gives them up.

    Exit codes: 0 undone, 1 refused or failed, 2 usage, 4 rows were changed or added in PostgreSQL, 130 interrupted.
    """
    target = Settings.load(env_file=env_file)
    if not (yes or dry_run):
        click.confirm(f"Delete all rows of import {run} from {target.database}?", abort=True, err=True)
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED):
        outcome = undo_import(target, run, display.update, force=force, dry_run=dry_run, jobs=jobs)
    _end(outcome, undo_lines(outcome), as_json)


def _end(outcome: Outcome, lines: Iterable[str], as_json: bool) -> None:
    click.echo(reports.as_json(outcome) if as_json else "\n".join(lines))
    raise click.exceptions.Exit(outcome.exit_code)


def _finish(outcome: Outcome, as_json: bool) -> None:
    _end(outcome, reports.outcome_lines(outcome), as_json)


@click.command()
@click.option(
    "--lang", "language", type=click.Choice(reports.LANGUAGES), default="en", show_default=True, help="Language."
)
@click.option(
    "--format", type=click.Choice(reports.FORMATS), help="How to write it.  [default: as FILE is named, or md]"
)
@click.option("--import", "run", type=int, metavar="N", help="Report this import only.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead."
)
@click.pass_obj
def report(
    env_file: Path, language: str, format: reports.Format | None, run: int | None, as_json: bool, output: Path | None
) -> None:
    """Write the completion report of the imports.

    As HTML it is one page that needs no network, for a screen of any size and for paper.
    """
    form: reports.Format = "json" if as_json else format or reports.format_of(output)
    text = reports.completion_report(Settings.load(env_file=env_file), language=language, format=form, run=run)
    if output:
        output.write_text(text, encoding="utf-8")
        click.echo(f"{output} written")
    else:
        click.echo(text)
