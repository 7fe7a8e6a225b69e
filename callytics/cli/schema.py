"""Commands for the schema: migrations, the roles' privileges, partitions, and diagnosis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from callytics.cli.boundary import Printing
from callytics.cli.terminal.tables import echo
from callytics.postgres.connect import connected
from callytics.postgres.text import counted, shown_json
from callytics.schema import grants as privileges
from callytics.schema import optional, way_back
from callytics.schema.doctor import doctor as doctors
from callytics.schema.grants import Difference
from callytics.schema.migrate import migrate as migrate_database
from callytics.schema.migrate import roll_back
from callytics.schema.versions import last, pending
from callytics.settings import Settings

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")


@click.command()
@click.option("--check", is_flag=True, help="Only list the missing migrations; exit with 1 if there are any.")
@click.option("--back-to", metavar="MIGRATION", help="Roll back what was applied after this migration.")
@click.option("--with", "with_", metavar="OPTIONAL", help="Also apply a migration that can be left out.")
@click.option("--without", metavar="OPTIONAL", help="Roll back a migration that can be left out.")
@click.option("--yes", is_flag=True, help="Do not ask before --back-to.")
@as_json_option
@click.pass_obj
def migrate(env_file: Path, /, check: bool, yes: bool, as_json: bool, **named: str | None) -> None:
    """Migrate the database to the schema that this version needs.

    With --back-to, to the one that an older version needs, before that is installed: rows of the tables that remain are
    kept. Only --with and --without concern what can be left out: search-inside-words, an index by which search finds
    Korean words inside others.
    """
    if sum(map(bool, (check, *named.values()))) > 1:
        raise click.UsageError("name only one of --check, --back-to, --with and --without")
    settings = Settings.load(env_file=env_file)
    if check:
        _check_migrations(settings, as_json)
    if back_to := named["back_to"]:
        if not yes:
            _ask(settings, back_to)
        _roll_back(settings, back_to, as_json)
    if without := named["without"]:
        _take_back(settings, without, as_json)
    apply = partial(optional.add, name=named["with_"]) if named["with_"] else migrate_database
    applied = apply(settings, report=lambda line: echo([line], err=as_json))
    said = f"{counted(len(applied), 'migration')} applied" if applied else "Every migration is applied already"
    echo_result({"ok": True, "applied": applied}, [said], as_json)


def _check_migrations(settings: Settings, as_json: bool) -> None:
    """List the missing migrations, and end the command."""
    with connected(settings, owner=True) as connection:
        missing, newest = pending(connection), last(connection)
    said = [*missing, f"{len(missing)} missing: run 'callytics migrate'"] if missing else ["Every migration is applied"]
    echo_result({"ok": not missing, "missing": missing, "last": newest}, said, as_json)
    raise click.exceptions.Exit(int(bool(missing)))


def _ask(settings: Settings, to: str) -> None:
    """Say what a way back takes, and raise click.Abort unless the answer is yes; nothing is asked where it is none."""
    found = way_back.look(settings, to)
    if found.migrations:
        takes = [f"  {line}" for line in found.takes]
        after = ["Applying the migrations again brings back what is put aside."] if takes else []
        said = f"{counted(len(found.migrations), 'migration')} would be rolled back, and with them go"
        echo([f"{said}{':' if takes else ' no tables and no columns.'}", *takes, *after], err=True)
        click.confirm(f"Roll back {settings.database} to {to}?", abort=True, err=True)


def _roll_back(settings: Settings, to: str, as_json: bool) -> None:
    """Roll back what was applied after a migration, and end the command."""
    undone = roll_back(settings, to, report=lambda line: echo([line], err=as_json))
    said = f"{counted(len(undone), 'migration')} rolled back" if undone else f"Nothing was applied after {to}"
    echo_result({"ok": True, "rolled_back": undone}, [said], as_json)
    raise click.exceptions.Exit(0)


def _take_back(settings: Settings, name: str, as_json: bool) -> None:
    """Roll an optional migration back, and end the command."""
    undone = optional.take_back(settings, name, report=lambda line: echo([line], err=as_json))
    said = f"{counted(len(undone), 'migration')} rolled back" if undone else f"{name} is not applied"
    echo_result({"ok": True, "rolled_back": undone}, [said], as_json)
    raise click.exceptions.Exit(0)


@click.command()
@click.option("--check", is_flag=True, help="Only list the differences; exit with 1 if there are any.")
@as_json_option
@click.pass_obj
def grants(env_file: Path, check: bool, as_json: bool) -> None:
    """Restore the roles' privileges to what the migrations grant.

    Revokes what was granted by hand to the application's role (POSTGRES_USER), callytics_user, callytics_readonly,
    callytics_monitor or PUBLIC, and grants what is missing, in one transaction, as the owner. Other roles are left
    alone.

    Exit codes: 0 the privileges are right, 1 they are not, or could not be checked.
    """
    settings = Settings.load(env_file=env_file)
    differences = privileges.check(settings) if check else privileges.apply(settings)
    said = [_found(one) if check else _done(one) for one in differences]
    ok = not (check and differences)
    document = {"ok": ok, "differences": [asdict(difference) for difference in differences]}
    echo_result(document, said or ["The roles' privileges are as the migrations say"], as_json)
    raise click.exceptions.Exit(int(not ok))


@click.command(cls=Printing)
@as_json_option
@click.pass_obj
def doctor(env_file: Path, as_json: bool) -> None:
    """Check the database as the application sees it, and say what to do.

    Writes nothing. Exit codes: 0 no error, 1 errors found.
    """
    examined = doctors.examine(Settings.load(env_file=env_file))
    echo_result(examined.as_dict(), list(doctors.lines(examined)), as_json)
    raise click.exceptions.Exit(examined.exit_code)


def _found(difference: Difference) -> str:
    which = ", ".join(difference.privileges)
    if difference.kind == "missing":
        return f"{difference.role} lacks {which} on {difference.object}"
    return f"{difference.role} has {which} on {difference.object}, which the migrations do not give"


def _done(difference: Difference) -> str:
    which = f"{', '.join(difference.privileges)} on {difference.object}"
    return (
        f"granted {which} to {difference.role}"
        if difference.kind == "missing"
        else f"revoked {which} from {difference.role}"
    )


def echo_result(document: dict[str, Any], lines: Sequence[str], as_json: bool) -> None:
    """Print a result: for people, or as JSON."""
    click.echo(shown_json(json.dumps(document, ensure_ascii=False, indent=2))) if as_json else echo(lines)
