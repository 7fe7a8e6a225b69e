"""The command that sets up shell completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from callytics.cli.boundary import Printing

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Printing)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and files.

    \b
    bash: eval "$(callytics completion bash)" in ~/.bashrc
    zsh:  eval "$(callytics completion zsh)" in ~/.zshrc
    fish: callytics completion fish > ~/.config/fish/completions/callytics.fish
    """
    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"click has no completion for {shell}")
    program = context.find_root().command
    click.echo(complete(program, {}, "callytics", "_CALLYTICS_COMPLETE").source())
