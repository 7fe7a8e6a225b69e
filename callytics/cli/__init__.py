"""The ``callytics`` command. Each subcommand parses its options, calls one library function and prints the result.

The subcommands are in this package's modules, by subject; this is the group that holds them.
"""

from __future__ import annotations

import ast
from collections import UserDict
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from callytics import __version__
from callytics.cli.boundary import LIMITS, Boundary, prepare_streams
from callytics.exceptions import SettingsError
from callytics.schema.versions import newest
from callytics.settings import forget_libpq

if TYPE_CHECKING:
    from callytics.importer import Limits

ENV_FILE = click.Path(dir_okay=False, path_type=Path)
# Where each command is defined, as MODULE.NAME.
COMMANDS = {
    "env": "environment.env",
    "migrate": "schema.migrate",
    "grants": "schema.grants",
    "partitions": "partitions.partitions",
    "doctor": "schema.doctor",
    "status": "status.status",
    "top": "top.top",
    "metrics": "metrics.metrics",
    "sample": "trial.sample",
    "server": "trial.server",
    "inspect": "imports.inspect",
    "import": "imports.import_command",
    "verify": "imports.verify",
    "sync": "imports.sync",
    "undo": "imports.undo",
    "timezone": "imports.timezone_command",
    "report": "imports.report",
    "erase": "erasure.erase",
    "backup": "backups.backup",
    "cluster": "cluster.cluster",
    "serve": "serving.serve",
    "agent": "agents.agent",
    "audit": "audit.audit",
    "completion": "completion.completion",
}

# These read no settings, or examine and write the file, which then need not be there.
WITHOUT_SETTINGS = frozenset({"backup", "cluster", "completion", "env", "inspect", "sample", "server"})


class Commands(UserDict[str, Any]):
    """Commands by name, each imported when it is asked for.

    Nobody should wait for libraries of other commands: with pyarrow, yoyo and the drivers, the start takes four times
    as long.
    """

    def __getitem__(self, name: str) -> click.Command:
        """Import a command; raises KeyError for an unknown name."""
        module, attribute = self.data[name].split(".")
        command: click.Command = getattr(import_module(f"callytics.cli.{module}"), attribute)
        return command

    def outline(self, name: str) -> click.Command | None:
        """Return a command with its name and its help, which are read and not imported; None for an unknown name."""
        if name not in self.data:
            return None
        module, attribute = self.data[name].split(".")
        return click.Command(name, help=_docstrings(module)[attribute])


@cache
def _docstrings(module: str) -> dict[str, str | None]:
    source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    return {part.name: ast.get_docstring(part) for part in ast.parse(source).body if isinstance(part, ast.FunctionDef)}


class Program(Boundary):
    """The group of all commands: to list or to complete them imports none, to call one imports that one."""

    commands: Commands

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command as lists show it."""
        return self.commands.outline(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called, and what its arguments are."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and self.commands[str(command.name)], rest


def print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print the version, and the number of the newest migration that comes with it."""
    if wanted and not context.resilient_parsing:
        click.echo(f"callytics {__version__} (schema {newest()})")
        context.exit()


@click.group(cls=Program, commands=Commands(COMMANDS), context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version and exit.",
)
@click.option("--env-file", type=ENV_FILE, default=".env", show_default=True, help="Where the settings are kept.")
@click.pass_context
def cli(context: click.Context, env_file: Path) -> None:
    """Bring Callytics from SQLite to PostgreSQL, and prove that everything arrived."""
    # 'env' connects nowhere, and names the variables that have no effect.
    if context.invoked_subcommand != "env":
        forget_libpq()
    context.meta[LIMITS] = context.obj
    named = context.get_parameter_source("env_file") is ParameterSource.COMMANDLINE
    if named and context.invoked_subcommand not in WITHOUT_SETTINGS and not env_file.exists():
        raise SettingsError(f"{env_file} is not there: check the path after --env-file")
    context.obj = env_file


def main(limits: Limits | None = None) -> None:
    """Run the command line.

    ``limits`` apply to its imports. Tests and benchmarks set them this way when they run commands in other processes.
    """
    prepare_streams()
    cli(prog_name="callytics", obj=limits)
