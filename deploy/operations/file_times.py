"""When files were written, which decides whether a program still runs with what they said before."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import FactBase, QuoteString, StringCommand


class ModificationTimes(FactBase[dict[str, float]]):
    """When each file was written last, in seconds since 1970; a file that is not there is left out."""

    default = dict

    def command(self, paths: Sequence[str]) -> StringCommand:
        """Return the command that asks."""
        return StringCommand("stat -L -c '%.9Y %n'", *map(QuoteString, paths), "2>/dev/null || true")

    def process(self, output: list[str]) -> dict[str, float]:
        """Return the times by path."""
        return {path: float(time) for time, path in (line.split(" ", 1) for line in output)}
