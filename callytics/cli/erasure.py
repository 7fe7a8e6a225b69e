"""The command that erases a person."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from callytics import erasure as erasures
from callytics.cli.schema import as_json_option, echo_result
from callytics.cli.terminal.tables import Table, echo
from callytics.erasure import Erasure, Person
from callytics.postgres.text import counted
from callytics.settings import Settings


@click.command()
@click.option("--call", "calls", type=int, multiple=True, help="A call, by the id of its recording.")
@click.option("--agent", metavar="NAME", help="An agent, by username or full name.")
@click.option("--with-calls", is_flag=True, help="Erase the agent's calls as well, not only the name in them.")
@click.option("--skip-archives", is_flag=True, help="Do not look into the files of archived months.")
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
@click.pass_obj
def erase(
    env_file: Path,
    calls: tuple[int, ...],
    agent: str | None,
    with_calls: bool,
    skip_archives: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase a call, or an agent, from every table.

    Rows are deleted; where another's row names the agent, the name is masked. The audit trail keeps its entries without
    saying whom they are about. What was imported does not come back by a sync, and no verification misses it. Files
    that still hold it are named: snapshots, archives, backups.
    """
    if bool(calls) == bool(agent) or (with_calls and not agent):
        raise click.UsageError("name either --call or --agent; --with-calls goes with --agent")
    settings, person = Settings.load(env_file=env_file), Person(calls, agent, with_calls)
    if not (yes or dry_run):
        # Whoever is asked should not hear afterwards that there was nothing to ask about.
        erasures.check(settings, person)
        click.confirm(f"Erase this from {settings.database} for good?", abort=True, err=True)
    done = erasures.erase(
        settings, person, lambda line: echo([line], err=True), dry_run=dry_run, archives=not skip_archives
    )
    _echo(done, as_json)


def _echo(done: Erasure, as_json: bool) -> None:
    if as_json:
        echo_result({"ok": True, **asdict(done), "deleted": +done.deleted, "masked": +done.masked}, [], as_json)
        return
    tables = sorted(+(done.deleted + done.masked))
    rows = [(table, f"{done.deleted[table]:,}", f"{done.masked[table]:,}") for table in tables]
    deleted, masked = counted(done.deleted.total(), "row"), counted(done.masked.total(), "row")
    verb = "would be " if done.dry_run else ""
    echo([*done.notes, *([Table(("table", "deleted", "masked"), rows, right={1, 2})] if rows else [])])
    echo([f"{deleted} {verb}deleted, {masked} {verb}masked.", *done.left])
