"""How every command ends, whatever went wrong: one line and an exit code, and a traceback only for a fault of ours."""

from __future__ import annotations

import codecs
import os
import sys
import traceback
from typing import Any

import click

from callytics import settings
from callytics.exceptions import CallyticsError
from callytics.postgres.errors import translated

# What a shell reports for a program that SIGPIPE has ended, as it does cat in "cat FILE | head -1".
READER_GONE = 141
OURS = "this is a fault of Callytics: report it with the lines above, as its CONTRIBUTING.md and SECURITY.md say"


class Boundary(click.Group):
    """The group of commands that ends each of them in the same way."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user, a file or a server did ends it with one line, anything else with a traceback.

        Neither holds a password, nor a row that PostgreSQL quotes.
        """
        try:
            with translated():
                return super().invoke(ctx)
        except CallyticsError as error:
            _end(ctx, str(error), error.exit_code)
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            _leave_quietly(ctx)
        except OSError as error:
            _end(ctx, _explained(error), 1)
        except Exception:
            values, _problems = settings.read(env_file=ctx.params["env_file"])
            click.echo(settings.scrub(traceback.format_exc(), values), err=True)
            _end(ctx, OURS, 1)


def prepare_output() -> None:
    """Let stdout and stderr show what their encoding lacks as an escape, instead of ending the command.

    The escapes are those of JSON, so that JSON stays exact in any encoding: there a letter that is not ASCII always
    stands inside a string.
    """
    codecs.register_error("callytics", _escaped)
    for stream in (sys.stdout, sys.stderr):
        # Either is None where the shell has closed it, and something else where a test reads it.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="callytics")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    # Through UTF-16, since JSON writes what lies beyond 16 bits as two escapes.
    code = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4)), error.end


def _end(ctx: click.Context, line: str, code: int) -> None:
    click.echo(f"Error: {line}", err=True)
    ctx.exit(code)


def _explained(error: OSError) -> str:
    what = error.filename if error.filename is not None else "the output"
    return f"{what} can't be used: {error.strerror or error}: correct its place, its permissions or the room it has"


def _leave_quietly(ctx: click.Context) -> None:
    """End as cat does when whoever reads has gone.

    Python flushes stdout once more at its end, which must find somebody
    (https://docs.python.org/3/library/signal.html#note-on-sigpipe).
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    ctx.exit(READER_GONE)
