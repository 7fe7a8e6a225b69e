"""systemd knows the current files of its units, and its services run with their current files."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypedDict

from pyinfra import host
from pyinfra.api import FactBase, QuoteString, StringCommand, operation

from deploy.operations.file_times import ModificationTimes

# How systemctl writes a moment with --timestamp=us+utc, after the day of the week.
MOMENT = "%Y-%m-%d %H:%M:%S.%f UTC"


class LoadedUnitsDict(TypedDict):
    """Whether a unit's file is newer than what systemd has loaded, and the files that it has loaded."""

    outdated: bool
    files: list[str]


class LoadedUnits(FactBase[LoadedUnitsDict]):
    """What systemd has loaded of some units."""

    def command(self, units: Sequence[str]) -> StringCommand:
        """Return the command that asks."""
        properties = "-p LoadState -p NeedDaemonReload -p FragmentPath -p DropInPaths --value"
        return StringCommand("systemctl show", properties, *map(QuoteString, units))

    def process(self, output: list[str]) -> LoadedUnitsDict:
        """Return what the lines say: yes or no, or paths."""
        words = " ".join(output).split()
        # One that failed, was removed and is there again stays "error" until then, its file named or not.
        files = [word for word in words if word.startswith("/")]
        return {"outdated": not {"yes", "error"}.isdisjoint(words), "files": files}


class ServiceStateDict(TypedDict):
    """Whether a service runs, since when in seconds since 1970, and whether it starts at boot."""

    active: bool
    started: float
    enabled: bool


class ServiceState(FactBase[ServiceStateDict]):
    """The state of a service."""

    def command(self, unit: str) -> StringCommand:
        """Return the command that asks."""
        properties = "-p ActiveState -p UnitFileState -p ExecMainStartTimestamp"
        return StringCommand("systemctl show --timestamp=us+utc", properties, QuoteString(unit))

    def process(self, output: list[str]) -> ServiceStateDict:
        """Return what the lines say; a service that never ran started long ago."""
        found = dict(line.split("=", 1) for line in output)
        return {
            "active": found["ActiveState"] == "active",
            "started": _moment(found["ExecMainStartTimestamp"]),
            # What is static starts when others need it, and can't be enabled.
            "enabled": found["UnitFileState"] in ("enabled", "static"),
        }


@operation()
def loaded(units: Mapping[str, Sequence[str]]) -> Generator[StringCommand, None, None]:
    """Make systemd read the files of ``units`` if it has not loaded one, or an older one.

    NeedDaemonReload alone would not do: systemd does not notice the first drop-in of a folder that it has not seen.
    """
    found = host.get_fact(LoadedUnits, units=list(units))
    wanted = {file for files in units.values() for file in files}
    if found["outdated"] or wanted - set(found["files"]):
        yield StringCommand("systemctl daemon-reload")
    else:
        host.noop("systemd knows its units")


@operation()
def running(unit: str, files: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Run a service, now and from boot on, restarted if it started before the last change of ``files``.

    The time of its start decides, so that the next run makes up for one that was killed between a change and the
    restart. If the service does not start, the operation fails with the last lines of its log.
    """
    state = host.get_fact(ServiceState, unit=unit)
    written = host.get_fact(ModificationTimes, paths=files)
    up_to_date = state["active"] and all(time < state["started"] for time in written.values())
    if not state["enabled"]:
        yield StringCommand("systemctl enable --quiet", unit)
    if not up_to_date:
        last_lines = f"journalctl --unit={unit} --lines=5 --output=cat --no-pager >&2"
        yield StringCommand("systemctl restart", unit, "|| {", last_lines, "; exit 1; }")
    if state["enabled"] and up_to_date:
        host.noop(f"{unit} runs with its files as they are")


class UnitFiles(FactBase[list[str]]):
    """Which of some units have a file of ours."""

    default = list

    def command(self, units: Sequence[str]) -> StringCommand:
        """Return the command that asks."""
        # Not ls: without any name it would list every unit of the host, for the removal of all of them.
        return StringCommand("for unit in", *map(QuoteString, units), '; do [ ! -f "/etc/systemd/system/$unit" ] ||',
                             'echo "$unit"; done')  # fmt: skip

    def process(self, output: list[str]) -> list[str]:
        """Return the names."""
        return output


@operation()
def absent(units: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Stop and disable units that a deployment made before, and remove their files."""
    if found := host.get_fact(UnitFiles, units=units):
        names = " ".join(found)
        yield StringCommand(f"systemctl disable --quiet --now {names}; cd /etc/systemd/system && rm -f {names}")
        # What was stopped amid its work has failed, and would be remembered as such when it is there again.
        yield StringCommand(f"systemctl daemon-reload; systemctl reset-failed {names} 2>/dev/null || true")
    else:
        host.noop("none of them is there")


@operation()
def released(units: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Stop and mask packages' services that a deployment has configured, and remove its drop-ins.

    Masked, or an upgrade of the package would start them. Services without a drop-in of ours are somebody else's, and
    left alone.
    """
    drop_ins = {f"{unit}.d/callytics.conf": unit for unit in units}
    if found := host.get_fact(UnitFiles, units=list(drop_ins)):
        names = " ".join(drop_ins[file] for file in found)
        yield StringCommand(
            f"systemctl disable --quiet --now {names}; systemctl mask --quiet {names}; "
            f"cd /etc/systemd/system && rm -f {' '.join(found)}"
        )
        yield StringCommand("systemctl daemon-reload")
    else:
        host.noop("none of them is ours")


class MaskedUnits(FactBase[list[str]]):
    """Which of some units are masked."""

    default = list

    def command(self, units: Sequence[str]) -> StringCommand:
        """Return the command that asks."""
        paths = [QuoteString(f"/etc/systemd/system/{unit}") for unit in units]
        return StringCommand(
            "for path in", *paths, '; do [ "$(readlink "$path")" != /dev/null ] || basename "$path"; done'
        )

    def process(self, output: list[str]) -> list[str]:
        """Return the names."""
        return output


@operation()
def unmasked(units: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Let services run that :func:`released` has masked."""
    if found := host.get_fact(MaskedUnits, units=units):
        yield StringCommand("systemctl unmask --quiet", *found)
    else:
        host.noop("none of them is masked")


def _moment(text: str) -> float:
    if not text:
        return 0.0
    return datetime.strptime(text.partition(" ")[2], MOMENT).replace(tzinfo=UTC).timestamp()
