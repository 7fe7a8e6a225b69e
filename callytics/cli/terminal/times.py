"""The zones of imported times: the command that changes them, and the lines that say which column is read in which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any

import click

from callytics.cli.terminal.tables import Table
from callytics.importer import Choice, Disagreement, Profile, RunZones, TimeColumn, Wanted, zone_named

READINGS = {
    "sqlite": "UTC where they are as SQLite writes them, otherwise {zone}",
    "local": "{zone}",
    "utc": "UTC",
}
ZONE_HELP = "Time zone of local timestamps without an offset."


def zone_option(help: str = ZONE_HELP, default: str | None = "UTC") -> Callable[..., Any]:
    """Return the option ``--timezone``, whose value is a zone or, without a default, None."""
    return click.option(
        "--timezone",
        "zone",
        default=default,
        show_default=default is not None,
        callback=lambda _context, _parameter, name: None if name is None else zone_named(name),
        help=help,
    )


def column_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name columns of UTC and of local times."""
    for name, help in (
        ("--local", "The times of this column are local, whatever its table declares."),
        ("--utc", "The times of this column are UTC; * stands for any characters, as in *.created_at."),
    ):
        command = click.option(name, multiple=True, metavar="TABLE.COLUMN", help=help)(command)
    return command


def wanted(
    zone: tzinfo | None, utc: tuple[str, ...], local: tuple[str, ...], declared: bool, choice: str | None
) -> Wanted:
    """Return what the options of ``timezone`` ask for; a usage error where that is nothing."""
    if not (zone or utc or local or declared):
        raise click.UsageError("name what to change: --timezone, --utc, --local or --declared")
    return Wanted(zone, declared, Choice(utc, local), choice)


def zone_lines(zones: Iterable[RunZones]) -> Iterator[str]:
    """Yield how the times of imports were read."""
    for one in zones:
        if not one.has_times:
            continue
        if one.one_zone:
            yield f"Times without an offset were read as {one.one_zone}{_old_words(one)}."
            continue
        for reading, names in one.short.items():
            read_as = READINGS[reading].format(zone=one.timezone)
            yield f"Times without an offset were read as {read_as}: {', '.join(names)}"


def _old_words(one: RunZones) -> str:
    if one.columns is not None or one.timezone == "UTC":
        return ""
    return (
        f", also those that SQLite wrote in UTC ('callytics timezone {one.run} --declared --dry-run' shows what "
        "reading them as their tables declare would change)"
    )


def time_lines(profile: Profile) -> Iterator[str | Table]:
    """Yield the columns of times, each with an example, how it is read and what else it could be; contradictions."""
    times = [one for one in profile.times if one.rows]
    if times:
        yield Table(
            ("times without an offset", "rows", "example", "read as", "that is", "otherwise"),
            [
                (one.name, f"{one.rows:,}", one.example or "", one.zone, _moment(one.instant), _otherwise(one))
                for one in _once(times)
            ],
            right={1},
        )
        yield "--timezone says which zone local times are of; --utc and --local name columns that are read otherwise."
        yield ""
    for found in profile.disagreements:
        yield _apart(found)


def _once(times: Iterable[TimeColumn]) -> list[TimeColumn]:
    # A table that goes to two targets has its columns twice.
    return list({(one.name, one.zone, one.example): one for one in times}.values())


def _moment(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "rejected"


def _otherwise(one: TimeColumn) -> str:
    return f"{_moment(one.other)} if {one.other_zone}"


def _apart(found: Disagreement) -> str:
    return (
        f"WARNING {found.column} is {abs(found.hours):g} h {'after' if found.hours > 0 else 'before'} {found.than} in "
        f"{found.rows:,} of {found.compared:,} rows compared: one of the two is read in the wrong zone, if both were "
        "written at once"
    )
