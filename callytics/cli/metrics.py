"""The command that tells Prometheus how the database is."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path

import click

from callytics.cli.boundary import Printing
from callytics.exceptions import OutputRefused
from callytics.settings import Settings
from callytics.status.metrics import Database, serve

# As every file begins that holds metrics with their helps.
BEGINS = b"# HELP "


class Address(click.ParamType[tuple[str, int]]):
    """A host and a port."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return both; an address of IPv6 stands in brackets."""
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is no address: write it as 127.0.0.1:9187", param, ctx)
        return host.strip("[]"), int(port)


@click.command(cls=Printing)
@click.option(
    "--into",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to replace, such as one of node exporter's textfile collector.",
)
@click.option(
    "--listen",
    type=Address(),
    metavar="HOST:PORT",
    help="Answer Prometheus there until stopped, asking the database each time.",
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help="The folder of the server's socket: connect there as the role that is named like this account.",
)
@click.option("--port", type=int, default=5432, show_default=True, help="The server's port, with --socket.")
@click.option("--database", default="callytics", show_default=True, help="The database, with --socket.")
@click.pass_obj
def metrics(
    env_file: Path,
    output: Path | None,
    listen: tuple[str, int] | None,
    socket: Path | None,
    port: int,
    database: str,
) -> None:
    """Print how the database is, as Prometheus reads it.

    Replication, WAL and its archiving, transactions and locks, dead rows, partitions ahead, headroom of sequences and
    transaction ids, invalid indexes, imports, certificates, and what statements cost, without their texts. What the
    role may not see, as without pg_monitor, is named as callytics_untold. Writes nothing to the database.

    Exit codes: 0 told, 1 the database does not answer: callytics_database_up is 0 then.
    """
    if output is not None:
        _refuse(output)
    if output is not None and listen is not None:
        raise click.UsageError("name either --into or --listen")
    if socket is None:
        settings = Settings.load(env_file=env_file)
    else:
        settings = Settings((str(socket),), port, database, pwd.getpwuid(os.geteuid()).pw_name, password="")
    if listen is not None:
        serve(settings, *listen)
        return
    found = Database(settings)
    if output is None:
        click.echo(found.text(), nl=False)
    else:
        _replace(output, found.text())
    if found.error is not None:
        raise found.error


def _refuse(file: Path) -> None:
    """Raise OutputRefused for a file that holds something else: a mistyped name must not cost the user a document."""
    with suppress(FileNotFoundError):
        begins = file.read_bytes()[: len(BEGINS)] if file.is_file() else b""
        if begins not in (b"", BEGINS):
            raise OutputRefused(
                f"{file} is already there and holds no metrics: choose another name, or move it away first"
            )


def _replace(file: Path, text: str) -> None:
    """Write a file that everybody may read, whole at any moment: the collector may look while it is written."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(file)
