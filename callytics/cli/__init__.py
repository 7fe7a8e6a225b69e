"""The ``callytics`` command: each one parses, calls one library function and echoes.

The commands stand in this package by what they are about; here is the group that holds them.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import click

from callytics import __version__, settings
from callytics.cli import agents, completion, environment, imports, schema, serving, trial
from callytics.exceptions import CallyticsError
from callytics.importer import Limits

ENV_FILE = click.Path(dir_okay=False, path_type=Path)
COMMANDS = (
    environment.env,
    schema.migrate,
    schema.grants,
    schema.partitions,
    schema.doctor,
    trial.sample,
    trial.server,
    imports.inspect,
    imports.import_command,
    imports.verify,
    imports.sync,
    imports.undo,
    imports.report,
    serving.serve,
    agents.agent,
    completion.completion,
)


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
    context.meta[imports.LIMITS] = context.obj or Limits()
    context.obj = env_file


for command in COMMANDS:
    cli.add_command(command)


def main(limits: Limits | None = None) -> None:
    """Run the command line.

    `limits` are those of its imports: tests and benchmarks that run commands as processes of their own set them so.
    """
    cli(prog_name="callytics", obj=limits)
