"""systemd knows its units' files as they are."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TypedDict

from pyinfra import host
from pyinfra.api import FactBase, QuoteString, StringCommand, operation


class LoadedUnitsDict(TypedDict):
    """Whether a unit's file is newer than what systemd knows, and the files that it knows."""

    outdated: bool
    files: list[str]


class LoadedUnits(FactBase[LoadedUnitsDict]):
    """What systemd has loaded of some units."""

    def command(self, units: Sequence[str]) -> StringCommand:
        """Return the command that asks."""
        properties = "-p NeedDaemonReload -p FragmentPath -p DropInPaths --value"
        return StringCommand("systemctl show", properties, *map(QuoteString, units))

    def process(self, output: list[str]) -> LoadedUnitsDict:
        """Return what the lines say: yes or no, or paths."""
        words = " ".join(output).split()
        return {"outdated": "yes" in words, "files": [word for word in words if word.startswith("/")]}


@operation()
def loaded(units: Mapping[str, Sequence[str]]) -> Generator[StringCommand, None, None]:
    """Make systemd read the files of ``units`` where it does not know one, or not as it is.

    It does not notice by itself the first file of a folder that it has not seen.
    """
    found = host.get_fact(LoadedUnits, units=list(units))
    wanted = {file for files in units.values() for file in files}
    if found["outdated"] or wanted - set(found["files"]):
        yield StringCommand("systemctl daemon-reload")
    else:
        host.noop("systemd knows its units")
