"""Commands for trying Callytics: sample files and a private PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from callytics.cli.boundary import Printing
from callytics.cli.terminal.progress import Display
from callytics.cli.terminal.tables import echo
from callytics.postgres.text import shell_word, shown
from callytics.trial.embedded import EmbeddedPostgres, start_private
from callytics.trial.sample import write_sample

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--generation", type=click.Choice(["1", "2", "3"]), required=True, help="The generation whose tables to write."
)
@click.option("--calls", type=click.IntRange(min=1), default=100, show_default=True, help="How many calls.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same bytes.")
@click.argument("out", type=click.Path(path_type=Path))
def sample(generation: str, calls: int, seed: int, out: Path) -> None:
    """Write a realistic SQLite database to OUT.

    For generation 3, OUT is a folder for its two databases.
    """
    with Display() as display:
        written = 0

        def report(many: int) -> None:
            nonlocal written
            written += many
            display.update("write calls", written, calls)

        rows = write_sample(out, generation=int(generation), calls=calls, seed=seed, progress=report)
    echo(f"{count:>12,} {table}" for table, count in rows.items())


def at_terminal() -> bool:
    """Tell whether stdin is a terminal, so that a question can be answered."""
    return sys.stdin.isatty()


@click.group()
def server() -> None:
    """Run a private PostgreSQL in a folder of yours, for trials."""


@server.command("start")
@click.argument("folder", type=FOLDER)
def server_start(folder: Path) -> None:
    """Start the server in FOLDER, which is created on first use.

    Its settings are written to FOLDER/.env.
    """
    start_private(folder)
    click.echo(shown(f"PostgreSQL runs on port {EmbeddedPostgres(folder).port}, its settings are in {folder}/.env"))


@server.command("status", cls=Printing)
@click.argument("folder", type=FOLDER)
def server_status(folder: Path) -> None:
    """Show whether the server in FOLDER runs, and how to connect."""
    private = EmbeddedPostgres(folder)
    if not private.running:
        click.echo(f"No PostgreSQL runs in {shown(str(folder))}: callytics server start {shell_word(folder)}")
        raise click.exceptions.Exit(1)
    env_file, psql = shell_word(f"{folder}/.env"), shell_word(f"{private.bin}/psql")
    click.echo(f"Connect: (set -a; . {env_file}; {psql})")
    click.echo(f"Stop:    {shell_word(sys.argv[0])} server stop {shell_word(folder)}   (--remove deletes it)")


@server.command("stop")
@click.option("--remove", is_flag=True, help="Also delete it, with every database in it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("folder", type=FOLDER)
def server_stop(folder: Path, remove: bool, yes: bool) -> None:
    """Stop the server in FOLDER.

    With --remove, deletes what 'server start' created, and FOLDER itself unless there is something else in it.
    """
    private = EmbeddedPostgres(folder)
    private.refuse_foreign()
    if not remove:
        private.stop()
        click.echo(f"PostgreSQL in {folder} is stopped")
        return
    if not yes and at_terminal():
        click.confirm(f"Delete the PostgreSQL in {folder} with every database in it?", abort=True, err=True)
    kept = private.remove()
    others = f"; kept is what is not its own: {', '.join(kept)}" if kept else ""
    click.echo(f"PostgreSQL in {folder} is removed{others}")
