"""The ``callytics`` command. Each subcommand parses its options, calls one library function and prints the result.

The subcommands are in this package's modules, by subject; this is the group that holds them.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from callytics import __version__
from callytics.cli import (
    agents,
    audit,
    backups,
    cluster,
    completion,
    environment,
    erasure,
    imports,
    metrics,
    partitions,
    schema,
    serving,
    status,
    top,
    trial,
)
from callytics.cli.boundary import Boundary, prepare_output
from callytics.exceptions import SettingsError
from callytics.importer import Limits
from callytics.schema.versions import newest
from callytics.settings import forget_libpq

ENV_FILE = click.Path(dir_okay=False, path_type=Path)
COMMANDS = (
    environment.env,
    schema.migrate,
    schema.grants,
    partitions.partitions,
    schema.doctor,
    status.status,
    top.top,
    metrics.metrics,
    trial.sample,
    trial.server,
    imports.inspect,
    imports.import_command,
    imports.verify,
    imports.sync,
    imports.undo,
    imports.timezone_command,
    imports.report,
    erasure.erase,
    backups.backup,
    cluster.cluster,
    serving.serve,
    agents.agent,
    audit.audit,
    completion.completion,
)

# These read no settings, or examine and write the file, which then need not be there.
WITHOUT_SETTINGS = frozenset({"backup", "cluster", "completion", "env", "inspect", "sample", "server"})


def print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print the version, and the number of the newest migration that comes with it."""
    if wanted and not context.resilient_parsing:
        click.echo(f"callytics {__version__} (schema {newest()})")
        context.exit()


@click.group(cls=Boundary, context_settings={"help_option_names": ["-h", "--help"]})
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
    context.meta[imports.LIMITS] = context.obj or Limits()
    named = context.get_parameter_source("env_file") is ParameterSource.COMMANDLINE
    if named and context.invoked_subcommand not in WITHOUT_SETTINGS and not env_file.exists():
        raise SettingsError(f"{env_file} is not there: check the path after --env-file")
    context.obj = env_file


for command in COMMANDS:
    cli.add_command(command)


def main(limits: Limits | None = None) -> None:
    """Run the command line.

    ``limits`` apply to its imports. Tests and benchmarks set them this way when they run commands in other processes.
    """
    prepare_output()
    cli(prog_name="callytics", obj=limits)
