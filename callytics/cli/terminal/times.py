"""The zones of imported times: the command that changes them, and the lines that say which column is read in which."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any

import click

from callytics.cli.terminal.tables import Table
from callytics.importer import Choice, Disagreement, Profile, RunZones, TimeColumn, Wanted, zone_named
from callytics.postgres.text import quoted

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
        ", also those that SQLite wrote in UTC "
        f"({quoted('callytics timezone', one.run, '--declared', '--dry-run')} shows what reading them as their tables "
        "declare would change)"
    )


def time_lines(profile: Profile) -> Iterator[str | Table]:
    """Yield the columns of times by how they are read, each with an example and its readings; contradictions."""
    # A table that goes to two targets has its columns twice.
    times = list({(one.name, one.zone, one.example): one for one in profile.times if one.rows}.values())
    for zone, other in dict.fromkeys((one.zone, one.other_zone) for one in times):
        yield Table(
            (f"times read as {zone}", "example", "in UTC", f"if {other}"),
            [_readings(one) for one in times if (one.zone, one.other_zone) == (zone, other)],
        )
        yield ""
    if times:
        yield (
            "Both readings are shown in UTC. --timezone says which zone local times are of; --utc and --local name "
            "columns that are read otherwise."
        )
        yield ""
    for found in profile.disagreements:
        yield _apart(found)
    if profile.disagreements:
        yield "If the two were written at once, one of them is read in the wrong zone."


def _readings(one: TimeColumn) -> tuple[str, str, str, str]:
    # Both readings of a column fit beside it at a terminal without the year, which the example tells.
    return one.name, re.sub(r"\.\d+$", "", one.example or ""), _moment(one.instant), _moment(one.other)


def _moment(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%m-%d %H:%M}" if moment else "rejected"


def _apart(found: Disagreement) -> str:
    return (
        f"WARNING {found.column} is {abs(found.hours):g} h {'after' if found.hours > 0 else 'before'} {found.than} in "
        f"{found.rows:,} of {found.compared:,} rows compared"
    )
