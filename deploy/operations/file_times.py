"""When files were last written, which tells whether a program still runs with their former content."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import FactBase, QuoteString, StringCommand


class ModificationTimes(FactBase[dict[str, float]]):
    """When each file was last written, in seconds since 1970; missing files are left out."""

    default = dict

    def command(self, paths: Sequence[str]) -> StringCommand:
        """Return the command that asks."""
        return StringCommand("stat -L -c '%.9Y %n'", *map(QuoteString, paths), "2>/dev/null || true")

    def process(self, output: list[str]) -> dict[str, float]:
        """Return the times by path."""
        return {path: float(time) for time, path in (line.split(" ", 1) for line in output)}
