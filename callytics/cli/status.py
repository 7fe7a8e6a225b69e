"""The command that shows how everything is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from callytics.cli.boundary import Printing
from callytics.cli.terminal.tables import echo
from callytics.postgres.text import shown_json
from callytics.settings import Addresses, Settings
from callytics.status.overview import Overview, overview


@click.command(cls=Printing)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.pass_obj
def status(env_file: Path, as_json: bool) -> None:
    """Show on one screen how everything is.

    Service, database, schema, imports and their verdicts, partitions ahead, the newest backup and trial restore,
    archiving, replication, alerts; what is not right comes with what to do. Writes nothing.

    Exit codes: 0 no error, 1 errors found.
    """
    seen = overview(Settings.load(env_file=env_file), Addresses.load(env_file=env_file))
    if as_json:
        click.echo(shown_json(json.dumps(seen.as_dict(), ensure_ascii=False, indent=2)))
    else:
        echo(lines(seen))
    raise click.exceptions.Exit(seen.exit_code)


def lines(seen: Overview) -> Iterator[str]:
    """Yield what was found for reading, each line with what to do."""
    for line in seen.lines:
        yield f"{'-' if line.level == 'none' else line.level:<8} {line.subject:<12} {line.what}"
        if line.remedy:
            yield f"{'':<21} → {line.remedy}"
