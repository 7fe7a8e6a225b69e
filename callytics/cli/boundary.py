"""How every command ends, whatever went wrong: one line and an exit code, and a traceback only for a fault of ours."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

import click

from callytics import settings
from callytics.cli.terminal.tables import echo
from callytics.exceptions import CallyticsError
from callytics.postgres.errors import translated

# Where a command's context keeps the ``Limits`` that were given to ``main``.
LIMITS = "callytics.limits"
# What a shell reports for a program that SIGPIPE has ended, as it does cat in "cat FILE | head -1".
READER_GONE = 141
# What can be wrong with the output, whose name no error holds.
OUTPUT_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EFBIG, errno.EIO}
PACKAGE = Path(__file__).parents[1]
OURS = "this is a fault of Callytics: report it with the lines above, as its CONTRIBUTING.md and SECURITY.md say"


class Boundary(click.Group):
    """The group of commands, which ends all of them in the same way."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of the user, a file or a server end it with one line, all others with a traceback.

        Neither contains a password, nor a row that PostgreSQL quotes.
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
            ctx.exit(READER_GONE)
        except Exception as error:
            if isinstance(error, OSError) and _is_of_the_place(error):
                _end(ctx, _explained(error), 1)
            values, _problems = settings.read(env_file=ctx.params["env_file"])
            click.echo(settings.scrub(traceback.format_exc(), values), err=True)
            _end(ctx, OURS, 1)


class Printing(click.Command):
    """A command that does nothing but print: it ends as cat does when whoever reads its output has gone.

    All others go on to their end without a reader, and end with the exit code of what they did; so does one that was
    given a file as its ``output``.
    """

    @staticmethod
    def is_running() -> bool:
        """Tell whether this thread runs such a command."""
        context = click.get_current_context(silent=True)
        return context is not None and isinstance(context.command, Printing) and not context.params.get("output")


class Output(io.FileIO):
    """A file descriptor that a command writes to, with or without somebody who reads it."""

    def write(self, data: Any) -> int:
        """Write, or go on into /dev/null once the reader has gone; only a `Printing` command hears of it."""
        try:
            return super().write(data)
        except OSError as error:
            # Python flushes stdout once more at its end, which must succeed
            # (https://docs.python.org/3/library/signal.html#note-on-sigpipe).
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if error.errno != errno.EPIPE or (self.fileno() == 1 and Printing.is_running()):
                raise
            return len(data)


def prepare_streams() -> None:
    """Let stdout and stderr outlive their readers, and write characters that their encoding lacks as escapes.

    A stdin that the shell has closed is an empty one.

    The escapes are those of JSON, so that JSON output stays exact in any encoding: non-ASCII characters occur in it
    only inside strings.
    """
    codecs.register_error("callytics", _escaped)
    # Either is None where the shell has closed it.
    if sys.stdout is not None:
        sys.stdout = _outliving(sys.stdout)
    if sys.stderr is not None:
        sys.stderr = _outliving(sys.stderr)
    if sys.stdin is None:
        # Takes its number as well, by which a child would otherwise read the next file that is opened.
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115


def _outliving(stream: TextIO) -> io.TextIOWrapper:
    stream.flush()
    raw = io.BufferedWriter(Output(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors="callytics", line_buffering=True)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    # By way of UTF-16: JSON writes a character beyond 16 bits as a surrogate pair (RFC 8259, section 7).
    code = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4)), error.end


def _end(ctx: click.Context, line: str, code: int) -> None:
    echo(f"Error: {line}".split("\n"), err=True)
    ctx.exit(code)


def _is_of_the_place(error: OSError) -> bool:
    """Tell whether a file that a user named, or the output, is to blame; the package's own files are our fault."""
    if error.filename is None:
        return error.errno in OUTPUT_TROUBLE
    # A descriptor that was opened by its number has no path.
    named = isinstance(error.filename, str | bytes)
    return named and PACKAGE not in Path(os.fsdecode(error.filename)).parents


def _explained(error: OSError) -> str:
    what = error.filename if error.filename is not None else "the output"
    return f"{what} can't be used ({error.strerror or error}): correct its place, its permissions or the room it has"
