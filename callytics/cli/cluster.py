"""Commands for a cluster of three database hosts: how it is, and what it can be told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from callytics.cli.boundary import Printing
from callytics.cli.terminal.progress import Display
from callytics.cli.terminal.tables import Table, echo
from callytics.cluster import acts, database, etcd, patroni
from callytics.cluster.members import Cluster, Member
from callytics.cluster.place import DEFAULT, Place
from callytics.postgres.text import shown_json
from callytics.settings import Settings
from callytics.status.advice import size

HEAD = ("member", "role", "state", "timeline", "behind", "confirms", "restart")
WELL = "Nothing is wrong: any one of the members may be lost."
UNTOLD = "Nothing is wrong that this login may see; who confirms what is stored is told on a member."
ONE_HOST = "POSTGRES_HOST names one host: no cluster. What three cost and give is in docs/hosts.md, Three hosts."

STOPPED_WAITING = """
Interrupted. Patroni goes on with what it was told; 'callytics cluster' shows how far it is."""

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(invoke_without_command=True)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="Where a member is told about the others.",
)
@click.pass_context
def cluster(context: click.Context, config: Path) -> None:
    """Show how a cluster of three database hosts is, and lead it.

    Without a command it shows the members, as 'status' does. The others run as root on a member.
    """
    context.obj = (context.obj, config)
    if context.invoked_subcommand is None:
        context.invoke(status)


@cluster.command(cls=Printing)
@as_json_option
@click.pass_obj
def status(places: tuple[Path, Path], as_json: bool = False) -> None:
    """Show the members: who leads, who confirms what is stored, how far behind each is, and what is wrong.

    On a member by Patroni, elsewhere by the databases of POSTGRES_HOST. Writes nothing.

    Exit codes: 0 nothing is wrong, or there is one host only; 1 something is.
    """
    env_file, config = places
    if place := Place.here(config):
        etcd.refuse_taken_out(place)
        _conclude(patroni.look(place), as_json)
    settings = Settings.load(env_file=env_file)
    if len(settings.hosts) > 1:
        _conclude(database.look(settings), as_json)
    click.echo(shown_json(json.dumps({"ok": True, "hosts": 1, "text": ONE_HOST})) if as_json else ONE_HOST)


@cluster.command()
@click.option("--to", "wanted", metavar="MEMBER", help="Who shall lead; else the standby that lacks least.")
@yes_option
@as_json_option
@quiet_option
@click.pass_obj
def switchover(places: tuple[Path, Path], wanted: str | None, yes: bool, as_json: bool, quiet: bool) -> None:
    """Let another member lead, as before maintenance of the one that does.

    Refused where no standby has all that was stored. Nothing is stored for some seconds; reading goes on.

    Exit codes: 0 done, whatever else is wrong; 1 refused, or not done in time.
    """
    place = _place(places[1])
    chosen = acts.candidate(patroni.look(place), wanted)
    if not yes:
        click.confirm(f"Let {chosen.name} lead? Nothing is stored for some seconds", abort=True, err=True)
    with _waiting(), Display(quiet, events=as_json) as display:
        after = acts.switchover(place, chosen.name, display.update)
    _echo(after, as_json)


@cluster.command()
@click.argument("members", nargs=-1)
@yes_option
@as_json_option
@quiet_option
@click.pass_obj
def restart(places: tuple[Path, Path], members: tuple[str, ...], yes: bool, as_json: bool, quiet: bool) -> None:
    """Restart PostgreSQL on these members, or on those that await it for a setting.

    One after another, the one that leads last. Refused where nothing could be stored meanwhile.

    Exit codes: 0 done, whatever else is wrong; 1 refused, or not done in time.
    """
    place = _place(places[1])
    chosen = [member.name for member in acts.restartable(patroni.look(place), members)]
    if chosen and not yes:
        click.confirm(f"Restart PostgreSQL on {', '.join(chosen)}?", abort=True, err=True)
    with _waiting(), Display(quiet, events=as_json) as display:
        if not chosen:
            display.say("No server awaits a restart.")
        after = acts.restart(place, chosen, display.update) if chosen else patroni.look(place)
    _echo(after, as_json)


@cluster.command()
@click.argument("member")
@yes_option
@as_json_option
@quiet_option
@click.pass_obj
def reinit(places: tuple[Path, Path], member: str, yes: bool, as_json: bool, quiet: bool) -> None:
    """Remove a standby's data and copy the leader's, for one that does not catch up.

    Refused for the leader, and for the only standby that confirms what is stored. Whoever stops waiting stops nothing:
    the copy goes on.

    Exit codes: 0 done, whatever else is wrong; 1 refused, or not done in time.
    """
    place = _place(places[1])
    acts.copyable(patroni.look(place), member)
    if not yes:
        click.confirm(f"Remove the data of {member} and copy the leader's?", abort=True, err=True)
    with _waiting(), Display(quiet, events=as_json) as display:
        after = acts.reinit(place, member, display.update)
    _echo(after, as_json)


def _place(config: Path) -> Place:
    place = Place.load(config)
    etcd.refuse_taken_out(place)
    return place


@contextmanager
def _waiting() -> Iterator[None]:
    """Tell whoever stops waiting that nothing else stops by it."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(STOPPED_WAITING, err=True)
        raise click.exceptions.Exit(130) from None


def _conclude(seen: Cluster, as_json: bool) -> None:
    """Print a cluster and end with its exit code."""
    _echo(seen, as_json)
    raise click.exceptions.Exit(seen.exit_code)


def _echo(seen: Cluster, as_json: bool) -> None:
    if as_json:
        click.echo(shown_json(json.dumps(seen.as_dict(), ensure_ascii=False, indent=2)))
    else:
        echo(lines(seen))


def lines(seen: Cluster) -> Iterator[str | Table]:
    """Yield a cluster for reading, each fault with what to do."""
    yield Table(HEAD, [_row(member) for member in seen.members], right={3, 4}, spare={6})
    yield ""
    if not seen.faults:
        yield UNTOLD if any(member.synchronous is None for member in seen.members) else WELL
    for fault in seen.faults:
        yield f"{fault.level:<8} {fault.what}"
        yield f"{'':<8} → {fault.remedy}"


def _row(member: Member) -> tuple[str, ...]:
    if not member.answers:
        return member.name, "?", "does not answer", "", "", "", ""
    return (
        member.name,
        "leader" if member.leads else "standby",
        member.state,
        str(member.timeline or "?"),
        "" if member.leads or member.lag_bytes is None else size(member.lag_bytes),
        "" if member.leads else {True: "yes", False: "no", None: "?"}[member.synchronous],
        "awaits it" if member.pending_restart else "",
    )
