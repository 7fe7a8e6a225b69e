"""Commands for the monthly partitions: made ahead, written to files, and brought back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from callytics import archives
from callytics.cli.boundary import Printing
from callytics.cli.schema import as_json_option, echo_result
from callytics.cli.terminal.tables import Table, echo
from callytics.cli.trial import at_terminal
from callytics.postgres.text import counted, path_text, shown_json, sized
from callytics.schema import partitions as months_of
from callytics.settings import Settings


@click.group()
def partitions() -> None:
    """Manage the monthly partitions of the tables that keep growing."""


@partitions.command("ahead")
@click.option(
    # Ten years at most: each month is a table, and a typing mistake would make thousands.
    "--months",
    type=click.IntRange(0, 120),
    default=months_of.MONTHS,
    show_default=True,
    help="How many months after the current one.",
)
@as_json_option
@click.pass_obj
def partitions_ahead(env_file: Path, months: int, as_json: bool) -> None:
    """Create the partitions of this month and the coming ones.

    Run it from a timer, at least every other month, with the application's login. Rows in a default partition move to
    their month's.
    """
    made = months_of.make_ahead(Settings.load(env_file=env_file), months)
    said = [*made, f"{counted(len(made), 'partition')} made" if made else "Every partition is there already"]
    echo_result({"ok": True, "made": made}, said, as_json)


@partitions.command("freeze")
@as_json_option
@click.pass_obj
def partitions_freeze(env_file: Path, as_json: bool) -> None:
    """Vacuum and freeze the months that are over, once for each.

    Run it from a timer, as the owner of the tables: a month that is frozen needs no vacuum any more. What is in use is
    left to the next run.
    """
    frozen = months_of.freeze_over(Settings.load(env_file=env_file), _say)
    said = f"{counted(len(frozen), 'partition')} frozen" if frozen else "Nothing was frozen"
    echo_result({"ok": True, "frozen": frozen}, [said], as_json)


@partitions.command("list", cls=Printing)
@as_json_option
@click.pass_obj
def partitions_list(env_file: Path, as_json: bool) -> None:
    """List the months of every table, those that are only in files included."""
    months = archives.all_months(Settings.load(env_file=env_file))
    if as_json:
        click.echo(shown_json(json.dumps([asdict(month) for month in months], ensure_ascii=False, indent=2)))
        return
    echo([Table(("month", "table", "rows", "size", "where"), [_listed(month) for month in months], right={2, 3})])


def _listed(month: archives.Month) -> tuple[str, ...]:
    rows = f"{month.rows:,}" if month.rows >= 0 else "?"
    return month.month, month.table, rows, "" if month.bytes is None else sized(month.bytes), month.folder or "database"


@partitions.command("archive")
@click.argument("months", metavar="[MONTH]...", nargs=-1)
@click.option(
    "--keep",
    type=click.IntRange(1, 1200),
    help="Instead of naming months: archive those older than so many before the current one.",
)
@click.option(
    "--into",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="callytics-archives",
    show_default=True,
    help="Where the files go.",
)
@click.option("--backed-up", is_flag=True, help="Only what the newest backup of 'callytics backup' holds as it is.")
@click.option("--dry-run", is_flag=True, help="Only say which months would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
@click.pass_obj
def partitions_archive(
    env_file: Path, /, months: tuple[str, ...], keep: int | None, folder: Path, as_json: bool, **given: bool
) -> None:
    """Write months to files and drop them from the database.

    The months, such as 2024-05, must be over. Each is written as compressed COPY text with a manifest, read back, and
    compared with its partitions by count and digest before these are dropped. 'callytics partitions restore' brings a
    month back.
    """
    if bool(months) == bool(keep):
        raise click.UsageError("name either months or --keep")
    settings = Settings.load(env_file=env_file)
    chosen = list(dict.fromkeys(months)) or archives.months_to_archive(archives.all_months(settings), keep or 0)
    if not chosen or given["dry_run"]:
        said = [f"would archive {', '.join(chosen)}" if chosen else "No month is old enough"]
        echo_result({"ok": True, "months": chosen, "archived": []}, said, as_json)
        return
    if not given["yes"] and at_terminal():
        click.confirm(f"Drop {', '.join(chosen)} from the database, after writing to {folder}?", abort=True, err=True)
    done = archives.archive_months(settings, chosen, folder, _say, backed_up=given["backed_up"])
    _echo_months(done, "archived", as_json)


@partitions.command("restore")
@click.argument("month")
@click.option(
    "--from",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder with its manifest.json, where it is no longer where it was written.",
)
@as_json_option
@click.pass_obj
def partitions_restore(env_file: Path, month: str, folder: Path | None, as_json: bool) -> None:
    """Bring an archived month back from its files."""
    settings = Settings.load(env_file=env_file)
    done = archives.restore_month(settings, month, folder, _say)
    _echo_months(done, "restored", as_json)


def _say(line: str) -> None:
    echo([line], err=True)


def _echo_months(months: Sequence[archives.Archived], what: str, as_json: bool) -> None:
    said = [f"{one.month}: {counted(one.rows, 'row')} of {one.table} {what}, {one.file}" for one in months]
    notes = [note for one in months for note in one.notes]
    listed = [asdict(one) | {"file": path_text(one.file)} for one in months]
    echo_result({"ok": True, what: listed}, [*said, *notes], as_json)
