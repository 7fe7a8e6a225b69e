"""Commands that import SQLite files into PostgreSQL, verify the result and report it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from callytics import report as reports
from callytics.cli.boundary import LIMITS, Printing
from callytics.cli.terminal.interrupt import ending_in_time
from callytics.cli.terminal.outcomes import as_json as json_of
from callytics.cli.terminal.outcomes import (
    folder_line,
    missing_lines,
    outcome_lines,
    profile_lines,
    sync_lines,
    undo_lines,
)
from callytics.cli.terminal.progress import Display
from callytics.cli.terminal.tables import Table, echo
from callytics.cli.terminal.times import column_options, wanted, zone_option
from callytics.exceptions import SettingsError
from callytics.importer import (
    INTERRUPTED,
    Choice,
    FolderContents,
    Limits,
    Options,
    Outcome,
    Profile,
    change_timezone,
    check_target,
    check_undo,
    files_of,
    import_files,
    inspect_file,
    plan_files,
    sync_files,
    undo_import,
    verify_files,
)
from callytics.postgres.text import shown, shown_json
from callytics.settings import Settings

FOLDER = click.Path(file_okay=False, path_type=Path)
JSON_HELP = "Print JSON instead of tables, and progress as JSON lines on stderr."
JOBS = click.option(
    "--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="How many tables to process in parallel."
)


def import_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that inspect, import, verify and sync have in common."""
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


def _options(**options: Any) -> Options:
    return Options(limits=click.get_current_context().meta[LIMITS] or Limits(), **options)


def _files(named: Sequence[Path]) -> list[Path]:
    """Replace each folder by the SQLite files in it, and say on stderr which ones those are."""
    folders: list[FolderContents] = []
    # A file may be named by itself and by its folder.
    files = list(dict.fromkeys(files_of(named, folders)))
    for contents in folders:
        echo([folder_line(contents)], err=True)
    return files


@click.command(cls=Printing)
@import_options
@zone_option()
@column_options
@click.pass_obj
def inspect(env_file: Path, /, files: tuple[Path, ...], quiet: bool, as_json: bool, **options: Any) -> None:
    """Show what is in SQLite files and what an import would do with it.

    A folder stands for the SQLite files in it. Needs no server, and leaves nothing behind. Where the settings name a
    database, the files' codes are looked up there: an import shares those that are there already.
    """
    _inspect(_files(files), _options(**options), quiet, as_json, _target(env_file))


def _target(env_file: Path) -> Settings | None:
    """Return the settings; None where there are none, or wrong ones: files can be inspected all the same."""
    try:
        return Settings.load(env_file=env_file)
    except SettingsError:
        return None


def _inspect(
    files: Sequence[Path], options: Options, quiet: bool, as_json: bool, target: Settings | None
) -> list[Profile]:
    with Display(quiet, events=as_json) as display:
        options = replace(options, notice=display.say)
        profiles = [inspect_file(file, options, display.update, target) for file in files]
    Choice(options.utc, options.local).check(time.name for profile in profiles for time in profile.times)
    if as_json:
        click.echo(shown_json(json_of(profiles)))
    else:
        for number, profile in enumerate(profiles):
            echo([*[""] * bool(number), *profile_lines(profile)])
        for line in missing_lines(profiles):
            echo(["", line])
    return profiles


@click.command("import")
@import_options
@zone_option()
@column_options
@click.option("--dry-run", is_flag=True, help="Check the target, inspect the files, and stop.")
@click.option("--plan", "show_plan", is_flag=True, help="With --dry-run, print the plan instead: every step, in order.")
@click.option("--strict", is_flag=True, help="Refuse files if anything would be rejected, normalised or unmapped.")
@JOBS
@click.option("--again", is_flag=True, help="Import a file whose calls are there already as new rows.")
@click.option(
    "--unmapped", is_flag=True, help="Import a file without any table of Callytics: its rows are kept as they are."
)
@click.option("--yes", is_flag=True, help="Import into a database that already holds calls without asking.")
@click.pass_obj
def import_command(
    env_file: Path,
    /,
    files: tuple[Path, ...],
    quiet: bool,
    as_json: bool,
    dry_run: bool,
    show_plan: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Import SQLite files: snapshot, load, verify every value.

    A folder stands for the SQLite files in it.

    Exit codes: 0 all loaded and verified, 1 refused or failed, 2 usage, 3 done with rejected rows, 4 differences
    found, 130 interrupted.
    """
    if show_plan and not dry_run:
        raise click.UsageError("--plan shows what --dry-run would do: name both")
    target, named = Settings.load(env_file=env_file), _files(files)
    if dry_run:
        check_target(target, named, _options(**options))
        _dry_run(target, named, _options(**options), quiet, as_json, show_plan)
        return
    question = f"{target.database} holds calls already: add these to them?"
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED) as cancellation:
        options |= {"cancellation": cancellation, "notice": display.say}
        ask = sys.stdin.isatty() and not yes
        confirm = partial(_confirm, display, question) if ask else lambda notes: None
        outcome = import_files(target, named, _options(**options), display.update, confirm=confirm)
    _end(outcome, outcome_lines(outcome), as_json)


def _confirm(display: Display, question: str, notes: Sequence[str]) -> None:
    # What speaks against it has to be known before the answer.
    for note in notes:
        display.say(note)
    display.ask(question)


def _dry_run(
    target: Settings, files: Sequence[Path], options: Options, quiet: bool, as_json: bool, show_plan: bool
) -> None:
    if show_plan:
        with Display(quiet, events=as_json) as display:
            plan = plan_files(target, files, replace(options, notice=display.say), display.update)
        click.echo(json_of(plan.groups())) if as_json else echo(str(plan).split("\n"))
        return
    for profile in _inspect(files, options, quiet, as_json, target):
        if options.strict:
            profile.refuse_unclean()


@click.command()
@import_options
@JOBS
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

    A folder stands for the SQLite files in it. On a server that takes no writes, such as a standby, the verdict is
    shown and not recorded.

    Exit codes: 0 all values equal, 1 refused or failed, 2 usage, 3 equal but for rejected rows, 4 differences found,
    130 interrupted.
    """
    target, named = Settings.load(env_file=env_file), _files(files)
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED) as cancellation:
        options = _options(snapshots=snapshots, jobs=jobs, cancellation=cancellation, notice=display.say)
        outcome = verify_files(target, named, options, display.update)
    _end(outcome, outcome_lines(outcome), as_json)


@click.command()
@import_options
@click.option("--dry-run", is_flag=True, help="Show what would change and how long it takes, without changing it.")
@click.option("--ours", "choice", flag_value="ours", help="Keep rows that were changed in PostgreSQL.")
@click.option(
    "--theirs", "choice", flag_value="theirs", help="Overwrite rows that were changed in PostgreSQL with SQLite's."
)
@click.option("--of", type=int, metavar="IMPORT", help="The files are later copies of this import's, by other names.")
@JOBS
@click.pass_obj
def sync(
    env_file: Path,
    files: tuple[Path, ...],
    snapshots: Path,
    quiet: bool,
    as_json: bool,
    dry_run: bool,
    choice: str | None,
    of: int | None,
    jobs: int,
) -> None:
    """Catch up with imported files that have changed since.

    A folder stands for the SQLite files in it. Only what differs is written, in one transaction; then "cut over now" is
    said, and every value is compared. Rows that were changed in PostgreSQL are not overwritten but listed. Where SQLite
    has changed them too, nothing is written until --ours or --theirs decides.

    Exit codes: 0 all values equal, 1 refused or failed, 2 usage, 3 equal but for rejected rows, 4 rows were changed in
    PostgreSQL or differences found, 130 interrupted.
    """
    target, named = Settings.load(env_file=env_file), _files(files)
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED) as cancellation:
        options = _options(snapshots=snapshots, jobs=jobs, cancellation=cancellation, notice=display.say)
        outcome = sync_files(target, named, options, display.update, choice=choice, dry_run=dry_run, of=of)
    _end(outcome, sync_lines(outcome), as_json)


@click.command()
@click.argument("run", metavar="IMPORT", type=int)
@click.option(
    "--force",
    is_flag=True,
    help="Also delete rows that were changed in PostgreSQL, or added to the import's; without its snapshot by its "
    "records.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, without deleting it.")
@JOBS
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
@click.pass_obj
def undo(
    env_file: Path, run: int, force: bool, dry_run: bool, jobs: int, yes: bool, quiet: bool, as_json: bool
) -> None:
    """Undo one import: delete all its rows, and nothing else.

    IMPORT is its number in the report. Other imports and what the application added stay. Rows that were
    changed in PostgreSQL, or that were added there and refer to the import's, are listed, and nothing is deleted unless
    --force is given.

    Exit codes: 0 undone, 1 refused or failed, 2 usage, 4 rows were changed or added in PostgreSQL, 130 interrupted.
    """
    target = Settings.load(env_file=env_file)
    if not (yes or dry_run):
        # Whoever is asked should not hear afterwards that there was nothing to ask about.
        check_undo(target, run)
        click.confirm(f"Delete all rows of import {run} from {target.database}?", abort=True, err=True)
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED) as cancellation:
        options = _options(jobs=jobs, cancellation=cancellation)
        outcome = undo_import(target, run, options, display.update, force=force, dry_run=dry_run)
    _end(outcome, undo_lines(outcome), as_json)


@click.command("timezone")
@click.argument("run", metavar="IMPORT", type=int)
@zone_option("Time zone of its local times.  [default: as it is]", None)
@column_options
@click.option("--declared", is_flag=True, help="Read all columns as their tables declare them, as an import does now.")
@click.option("--dry-run", is_flag=True, help="Show what would change, without changing it.")
@click.option("--ours", "choice", flag_value="ours", help="Keep rows that were changed in PostgreSQL.")
@click.option(
    "--theirs", "choice", flag_value="theirs", help="Overwrite rows that were changed in PostgreSQL with SQLite's."
)
@JOBS
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
@click.pass_obj
def timezone_command(
    env_file: Path, /, run: int, dry_run: bool, jobs: int, quiet: bool, as_json: bool, **chosen: Any
) -> None:
    """Read the times of one import anew, in other zones.

    IMPORT is its number in the report. Its rows get the times that an import with these options would have given
    them, in one transaction, and are verified. Rows that were changed in PostgreSQL are not overwritten: they are
    listed, and nothing is written until --ours or --theirs decides.

    Exit codes: 0 all values equal, 1 refused or failed, 2 usage, 3 equal but for rejected rows, 4 rows were changed in
    PostgreSQL or differences found, 130 interrupted.
    """
    what, target = wanted(**chosen), Settings.load(env_file=env_file)
    with Display(quiet, events=as_json) as display, ending_in_time(INTERRUPTED) as cancellation:
        options = _options(jobs=jobs, cancellation=cancellation, notice=display.say)
        outcome = change_timezone(target, run, what, options, display.update, dry_run=dry_run)
    _end(outcome, sync_lines(outcome), as_json)


def _end(outcome: Outcome, lines: Iterable[str | Table], as_json: bool) -> None:
    click.echo(shown_json(json_of(outcome))) if as_json else echo(lines)
    raise click.exceptions.Exit(outcome.exit_code)


@click.command(cls=Printing)
@click.option(
    "--lang", "language", type=click.Choice(reports.LANGUAGES), default="en", show_default=True, help="Language."
)
@click.option(
    "--format", type=click.Choice(reports.FORMATS), help="How to write it.  [default: the suffix of FILE, or md]"
)
@click.option("--import", "run", type=int, metavar="N", help="Report this import only.  [default: all]")
@zone_option("Time zone of the report's own times.  [default: that of the newest import]", None)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file instead; only an earlier report is replaced.",
)
@click.pass_obj
def report(env_file: Path, /, output: Path | None, as_json: bool, format: reports.Format | None, **chosen: Any) -> None:
    """Write the completion report of the imports.

    As HTML it is one page that needs no network, for a screen of any size and for paper.
    """
    form: reports.Format = "json" if as_json else format or reports.format_of(output)
    if output:
        # Before the database is asked: a mistake in the name should cost no time.
        reports.refuse_output(output)
    text = reports.completion_report(Settings.load(env_file=env_file), format=form, **chosen)
    text = shown_json(text) if form == "json" else text
    if output:
        reports.write_report(output, text)
        click.echo(shown(f"{output} written"))
    else:
        click.echo(text)
