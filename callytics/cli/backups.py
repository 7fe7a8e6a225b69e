"""Commands for backups, restores, and the trial of both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from callytics.backup import drill as drills
from callytics.backup import pgbackrest, taking
from callytics.backup import restore as restores
from callytics.backup import state as states
from callytics.backup.place import DEFAULT, Place
from callytics.cli.boundary import Printing
from callytics.cli.terminal.progress import Display
from callytics.cli.terminal.tables import Table, echo
from callytics.cluster import anew, etcd, patroni
from callytics.cluster.place import Place as Members
from callytics.exceptions import DrillFailed
from callytics.postgres.text import minute, shown_json

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
HEAD = ("backup", "type", "ended", "took", "database", "stored")


class Moment(click.ParamType[datetime]):
    """A moment as people write it, in this machine's zone unless it names one."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return it with its zone."""
        try:
            found = datetime.fromisoformat(value.strip().removesuffix("UTC").strip())
        except ValueError:
            self.fail(
                f"{value!r} is no time: write it as '2026-11-30 14:05:00' or '2026-11-30 14:05:00+09:00'", param, ctx
            )
        if value.strip().endswith("UTC"):
            return found.replace(tzinfo=UTC)
        return found if found.tzinfo else found.astimezone()


to_option = click.option("--to", "moment", type=Moment(), metavar="TIME", help="The second to restore; now without it.")


@click.group()
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="Where the deployment has written what is backed up.",
)
@click.pass_context
def backup(context: click.Context, config: Path) -> None:
    """Back up a provisioned database, restore it, and prove that it can be."""
    context.obj = config


@backup.command("now")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["full", "diff"]),
    default="diff",
    show_default=True,
    help="All, or what differs from the last full backup.",
)
@as_json_option
@quiet_option
@click.pass_obj
def backup_now(config: Path, kind: str, as_json: bool, quiet: bool) -> None:
    """Back up the database now; the first backup is a full one.

    The database is used as before meanwhile. At the end writers wait for a moment, in which every table's checksum is
    begun: the restore drill compares with these.
    """
    place = _place(config)
    with Display(quiet, events=as_json) as display:
        made = taking.take(place, kind, display.update)
    states.write(place, states.look(place))
    _echo({"ok": True, "backup": made.as_dict()}, [Table(HEAD, list(pgbackrest.lines([made])))], as_json)


@backup.command("list", cls=Printing)
@as_json_option
@click.pass_obj
def backup_list(config: Path, as_json: bool) -> None:
    """List the backups, and how archiving and the last drill are."""
    place = _place(config)
    found, state = pgbackrest.backups(place), states.look(place)
    said: list[str | Table] = [Table(HEAD, list(pgbackrest.lines(found)))] if found else []
    _echo({"backups": [one.as_dict() for one in found], "state": asdict(state)}, [*said, *state_lines(state)], as_json)


@backup.command("check")
@click.option("--verify", is_flag=True, help="Read the whole repository and compare checksums, too.")
@as_json_option
@click.pass_obj
def backup_check(config: Path, verify: bool, as_json: bool) -> None:
    """Have WAL archived, see it arrive, and look at the age of backups and drills.

    Exit codes: 0 all is well, 1 something is wrong.
    """
    place = _place(config)
    if not taking.only_reads(place):
        pgbackrest.check(place)
    if verify:
        pgbackrest.verify(place)
        states.keep_verified(place)
    _conclude(place, as_json)


@backup.command("watch")
@as_json_option
@click.pass_obj
def backup_watch(config: Path, as_json: bool) -> None:
    """Look at archiving and at the backups' age, and write both down for monitoring.

    A timer runs it every minute on provisioned hosts. Exit codes: 0 all is well, 1 something is wrong.
    """
    place = _place(config)
    if place.repository_host:
        taking.record_latest(place, lambda *_: None)
    states.keep_archiving(place)
    _conclude(place, as_json)


@backup.command("drill")
@to_option
@as_json_option
@quiet_option
@click.pass_obj
def backup_drill(config: Path, moment: datetime | None, as_json: bool, quiet: bool) -> None:
    """Restore into a scratch cluster, prove that everything is there, and remove it.

    Compares rows and checksums of every table with those at the backup, runs doctor and pg_amcheck, and measures how
    long the restore took (RTO) and how old a commit is until it could be restored (RPO). The database is not touched.

    Exit codes: 0 all was there, 1 another drill runs or that second can't be restored, 4 something was missing,
    damaged or in the way.
    """
    place = _place(config)
    with Display(quiet, events=as_json) as display:
        result = drills.drill(place, moment, display.update)
    states.keep_drill(place, result)
    _echo(result.as_dict(), _drill(result), as_json)
    if not result.passed:
        raise DrillFailed("the drill failed: the backup is not proved, see the lines above")


@backup.command("restore")
@to_option
@click.option(
    "--into", "folder", type=click.Path(path_type=Path), help="A new folder for the copy, beside the database."
)
@click.option("--yes", is_flag=True, help="Ask nothing.")
@as_json_option
@quiet_option
@click.pass_obj
def backup_restore(
    config: Path, moment: datetime | None, folder: Path | None, yes: bool, as_json: bool, quiet: bool
) -> None:
    """Restore the database as it was at a second, in its place or into a folder.

    In its place: the server stops, what it has not archived yet is archived, the old data moves aside and stays, and
    the restored data is served. Into a folder: the database goes on, and the copy is yours to start and to delete.

    Of a cluster's members the one that leads is restored, with Patroni stopped on the others, which then copy it.
    """
    if folder is None:
        _restore_here(_place(config, as_root=True), moment, yes, as_json, quiet)
    else:
        # Before the account changes, and the folder with it.
        folder = folder.absolute()
        place = _place(config)
        with Display(quiet, events=as_json) as display:
            restored = restores.restore_into(place, folder, moment, display.update)
        start = f'{place.program("pg_ctl")} -D {folder} -o "-k {folder}" -w start'
        said = [f"to start it: sudo -u {place.account} {start}", "to delete it: stop it, then delete the folder"]
        _echo(_document(restored, moment), [*_restored(restored, moment), *said], as_json)


def _restore_here(place: Place, moment: datetime | None, yes: bool, as_json: bool, quiet: bool) -> None:
    members = Members.here() if os.geteuid() == 0 else None
    if members:
        anew.refuse(members, patroni.look(members))
    with Display(quiet, events=as_json) as display:
        if not yes:
            display.ask(f"The server stops, and its data becomes that of {restores.shown(moment)}. Go on?")
        restored = restores.restore_here(place, moment, display.update, partial(_forget, members))
        if members:
            anew.wait_until_it_leads(members, display.update)
    # Its history forks here: a backup of the new one makes the next restore independent of the old.
    subprocess.run(
        ["systemctl", "start", "--no-block", "callytics-backup-full.service"], capture_output=True, check=False
    )
    said = [f"the data from before is in {restored.before}: delete it when you are sure"] if restored.before else []
    said += _for_others(place) if members else []
    _echo(_document(restored, moment), [*_restored(restored, moment), *said], as_json)


def _forget(members: Members | None) -> None:
    if members:
        etcd.forget(members)


def _for_others(place: Place) -> list[str]:
    # Into a store the member itself backs up, and has begun to.
    then = [f"then on {place.repository_host}: systemctl start callytics-backup-full"] if place.repository_host else []
    return [
        "nothing is stored until another member has copied this one; on each of the two others run:",
        f"  rm -r {place.data} && systemctl start {place.unit}",
        *then,
    ]


def _place(config: Path, *, as_root: bool = False) -> Place:
    """Read where the backups are; the process becomes PostgreSQL's account unless services are to be stopped.

    SIGTERM, which ends a timer's service, ends the command as Ctrl-C does: with everything put away.
    """
    place = Place.load(config)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not (as_root and os.geteuid() == 0):
        place.become_account()
    return place


def _conclude(place: Place, as_json: bool) -> None:
    state = states.look(place)
    states.write(place, state)
    _echo(
        {"ok": not state.wrong, **asdict(state)},
        state.wrong or ["Archiving and backups are as they should be"],
        as_json,
    )
    raise click.exceptions.Exit(int(bool(state.wrong)))


def state_lines(state: states.State) -> list[str]:
    """Return how archiving and backups are, for reading."""
    said = [f"archiving: {state.archive_waiting} WAL files wait" if state.archive_waiting else "archiving: up to date"]
    if state.standby:
        said = ["archiving: by the member that leads, as 'callytics backup list' says there"]
    if state.drill:
        verdict = "passed" if state.drill["passed"] else "failed"
        # One that was cut short has no end.
        ended = state.drill["ended"] and f" {minute(datetime.fromisoformat(state.drill['ended']))}"
        said.append(", ".join(filter(None, (f"drill: {verdict}{ended or ''}", _times(state.drill)))))
    return said + [f"wrong: {line}" for line in state.wrong]


def _times(found: dict[str, Any]) -> str:
    names = (("rto_seconds", "restored in {:,.0f} s (RTO)"), ("rpo_seconds", "at most {:,.0f} s could be lost (RPO)"))
    return ", ".join(words.format(found[name]) for name, words in names if found[name] is not None)


def _drill(result: drills.Drill) -> list[str]:
    said = [f"restored {result.label} to {result.target}"] if result.rto_seconds is not None else []
    said += [
        *result.checked,
        *(f"as before: {line}" for line in result.as_before),
        *(f"wrong: {line}" for line in result.wrong),
    ]
    times = _times(result.as_dict())
    return [*said, *([times] if times else []), "everything is there" if result.passed else "the drill failed"]


def _restored(restored: restores.Restored, moment: datetime | None) -> list[str]:
    said = f"{restored.data} is as of {restores.shown(moment)}, from backup {restored.backup.label}"
    short = ["the archive ends before that: everything in it is there"] if not restored.reached else []
    return [f"{said}, in {restored.seconds:,.0f} s", *short]


def _document(restored: restores.Restored, moment: datetime | None) -> dict[str, Any]:
    return {
        "ok": True,
        "folder": str(restored.data),
        "backup": restored.backup.label,
        "to": moment.isoformat() if moment else None,
        "reached": restored.reached,
        "seconds": round(restored.seconds, 1),
        "before": str(restored.before) if restored.before else None,
    }


def _echo(document: dict[str, Any], parts: Sequence[str | Table], as_json: bool) -> None:
    click.echo(shown_json(json.dumps(document, ensure_ascii=False, indent=2))) if as_json else echo(parts)
