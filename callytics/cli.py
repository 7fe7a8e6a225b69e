"""The ``callytics`` command: each one parses, calls one library function and echoes."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from callytics import __version__, settings
from callytics import doctor as doctors
from callytics.embedded import EmbeddedPostgres, start_private
from callytics.exceptions import CallyticsError
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
from callytics.migrate import migrate as migrate_database
from callytics.sample import write_sample
from callytics.settings import Settings

ENV_FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class Callytics(click.Group):
    """The group that ends every command the same way, whatever went wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that nobody foresaw shows its traceback, without passwords and rows."""
        try:
            return super().invoke(ctx)
        except CallyticsError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception:
            values, _problems = settings.read(env_file=ctx.params["env_file"])
            click.echo(settings.scrub(traceback.format_exc(), values), err=True)
            ctx.exit(1)


@click.group(cls=Callytics, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--env-file", type=ENV_FILE, default=".env", show_default=True, help="Where the settings are kept.")
@click.pass_context
def cli(context: click.Context, env_file: Path) -> None:
    """Bring Callytics from SQLite to PostgreSQL, and prove that everything arrived."""
    context.obj = env_file


@cli.group()
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


@cli.command()
@click.pass_obj
def migrate(env_file: Path) -> None:
    """Bring the database's tables to where this version needs them."""
    applied = migrate_database(Settings.load(env_file=env_file), report=click.echo)
    click.echo(f"{len(applied)} migrations applied" if applied else "Every migration is applied already")


@cli.command()
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


@cli.command()
@click.option("--generation", type=click.Choice(["1", "2", "3"]), required=True, help="Whose tables to write.")
@click.option("--calls", type=click.IntRange(min=1), default=100, show_default=True, help="How many calls.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same bytes.")
@click.argument("out", type=click.Path(path_type=Path))
def sample(generation: str, calls: int, seed: int, out: Path) -> None:
    """Write a realistic SQLite database to OUT.

    For generation 3 OUT is a folder, which gets its two databases.
    """
    with click.progressbar(length=calls, label="Writing calls", file=sys.stderr) as bar:
        rows = write_sample(out, generation=int(generation), calls=calls, seed=seed, progress=bar.update)
    for table, count in rows.items():
        click.echo(f"{count:>12,} {table}")


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


@cli.command()
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


@cli.command("import")
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


@cli.command()
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


@cli.command()
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


@cli.group()
def server() -> None:
    """A private PostgreSQL in a folder of yours, to try things."""


@server.command("start")
@click.argument("folder", type=FOLDER)
def server_start(folder: Path) -> None:
    """Start it in FOLDER, which is made on first use.

    Its settings are written to FOLDER/.env.
    """
    start_private(folder)
    click.echo(f"PostgreSQL runs on port {EmbeddedPostgres(folder).port}, its settings are in {folder}/.env")


@server.command("status")
@click.argument("folder", type=FOLDER)
def server_status(folder: Path) -> None:
    """Tell whether the one in FOLDER runs, and how to connect."""
    private = EmbeddedPostgres(folder)
    if not private.running:
        click.echo(f"No PostgreSQL runs in {folder}: callytics server start {folder}")
        raise click.exceptions.Exit(1)
    env_file, psql = shlex.quote(f"{folder}/.env"), shlex.quote(f"{private.bin}/psql")
    click.echo(f"Connect: (set -a; . {env_file}; {psql})")
    click.echo(f"Stop:    {shlex.quote(sys.argv[0])} server stop {shlex.quote(str(folder))}   (--remove deletes it)")


@server.command("stop")
@click.option("--remove", is_flag=True, help="Delete FOLDER too, with every database in it.")
@click.argument("folder", type=FOLDER)
def server_stop(folder: Path, remove: bool) -> None:
    """Stop the one in FOLDER."""
    private = EmbeddedPostgres(folder)
    private.remove() if remove else private.stop()
    click.echo(f"PostgreSQL in {folder} is {'removed' if remove else 'stopped'}")


def main() -> None:
    """Run the command line."""
    cli(prog_name="callytics")


if __name__ == "__main__":
    main()
