"""Commands for agents' accounts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from callytics.cli.boundary import Printing
from callytics.cli.terminal.tables import Table, echo
from callytics.postgres.text import counted, minute
from callytics.settings import Settings

if TYPE_CHECKING:
    from callytics.agents.accounts import Account, AgentAccounts, Grant
    from callytics.agents.sessions import Session
    from callytics.postgres import PostgreSQLManager

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M%z"])
SESSION_HEAD = ("SESSION", "SINCE", "ENDS", "IF NOT USED", "FROM", "PROGRAM")
HEAD = ("USERNAME", "NAME", "DEPARTMENT", "POSITION", "STATE", "LAST LOGIN", "PERMISSIONS")

WHICH = {"own": "their own calls", "team": "the calls of their team", "all": "all calls"}

password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)
expires = click.option(
    "--expires",
    type=MOMENT,
    metavar="MOMENT",
    help="When the permission ends: 2027-12-31 or 2027-12-31T18:00 in UTC, or 2027-12-31T18:00+0900.  [default: never]",
)


class Asked(click.Option):
    """An option that is asked for at a terminal, once nothing else refuses the command, and is required elsewhere."""

    LATER = "\0"

    def prompt_for_value(self, ctx: click.Context) -> Any:
        """Put the question off, if stdin is a terminal."""
        if not sys.stdin.isatty():
            raise click.MissingParameter(ctx=ctx, param=self)
        return self.LATER

    @classmethod
    def ask(cls, values: dict[str, str | None]) -> dict[str, str | None]:
        """Ask for what was put off."""
        return {
            name: click.prompt(name.replace("_", " ").capitalize()) if value == cls.LATER else value
            for name, value in values.items()
        }


@click.group()
def agent() -> None:
    """Manage agents' accounts: who may log in, and do what."""


@agent.command("add")
@click.argument("username")
@click.option("--last-name", cls=Asked, prompt=True, required=True, help="Family name.")
@click.option("--first-name", cls=Asked, prompt=True, required=True, help="Given name.")
@click.option("--full-name", help="Full name.  [default: made of both, 김민수 or Minsu Kim]")
@click.option("--department", cls=Asked, prompt=True, required=True, help="Department.")
@click.option("--position", cls=Asked, prompt=True, required=True, help="Rank.")
@click.option("--team", help="Name of the team.")
@click.option("--email", help="Email address.")
@click.option("--employee-id", help="Employee number.")
@click.option("--permission", "permissions", metavar="TYPE:LEVEL", multiple=True, help="May be given several times.")
@expires
@password_stdin
@click.pass_obj
def agent_add(
    env_file: Path,
    /,
    username: str,
    permissions: tuple[str, ...],
    expires: datetime | None,
    password_stdin: bool,
    **profile: str | None,
) -> None:
    """Create an account that may log in.

    Asks for what is missing. Permissions are described by 'callytics agent grant --help'.
    """
    # Only here: argon2 takes a while to import, which no other command should wait for.
    from callytics.agents.accounts import Profile

    if expires and not permissions:
        raise click.UsageError("--expires ends a permission: give one with --permission")
    grants = tuple(_grant(permission, expires) for permission in permissions)
    with _accounts(env_file) as accounts:
        accounts.check_new(username, grants)
        told = Profile(**Asked.ask(profile))  # type: ignore[arg-type]
        accounts.add_agent(username, _password(password_stdin), told, grants)
    click.echo(f"{username} may log in")


@agent.command("passwd")
@click.argument("username")
@password_stdin
@click.pass_obj
def agent_passwd(env_file: Path, username: str, password_stdin: bool) -> None:
    """Give an agent a new password.

    Ends every login of the agent, and unlocks an account that was locked by wrong passwords.
    """
    with _accounts(env_file) as accounts:
        accounts.check_known(username)
        accounts.set_password(username, _password(password_stdin))
    click.echo(f"{username} has a new password and is logged out everywhere")


@agent.command("lock")
@click.argument("username")
@click.option("--deactivate", is_flag=True, help="The agent has left: account and profile become inactive.")
@click.pass_obj
def agent_lock(env_file: Path, username: str, deactivate: bool) -> None:
    """Refuse an agent's logins, and end the current ones at once."""
    with _accounts(env_file) as accounts:
        accounts.deactivate(username) if deactivate else accounts.lock(username)
    click.echo(f"{username} is {'inactive' if deactivate else 'locked'} and logged out everywhere")


@agent.command("unlock")
@click.argument("username")
@click.option("--activate", is_flag=True, help="Also if the account is inactive or pending.")
@click.pass_obj
def agent_unlock(env_file: Path, username: str, activate: bool) -> None:
    """Allow an agent's logins again, after 'agent lock' or wrong passwords."""
    with _accounts(env_file) as accounts:
        accounts.activate(username) if activate else accounts.unlock(username)
    click.echo(f"{username} may log in")


@agent.command("grant")
@click.argument("username")
@click.argument("permissions", metavar="TYPE:LEVEL...", nargs=-1, required=True)
@expires
@click.pass_obj
def agent_grant(env_file: Path, username: str, permissions: tuple[str, ...], expires: datetime | None) -> None:
    """Give an agent permissions, replacing those of the same type.

    TYPE is audio_upload, analysis_view, report_generation, supervisor, trainer, or admin, which covers all of them.
    LEVEL is read, write, which includes read, or admin, which includes both.
    """
    grants = [_grant(permission, expires) for permission in permissions]
    with _accounts(env_file) as accounts, accounts.postgres.transaction():
        for grant in grants:
            accounts.grant(username, grant)
    click.echo(f"{username} has {', '.join(permissions)}")


@agent.command("revoke")
@click.argument("username")
@click.argument("types", metavar="TYPE...", nargs=-1, required=True)
@click.pass_obj
def agent_revoke(env_file: Path, username: str, types: tuple[str, ...]) -> None:
    """Take permissions away from an agent, whatever their level."""
    with _accounts(env_file) as accounts, accounts.postgres.transaction():
        for permission_type in types:
            accounts.revoke(username, permission_type)
    click.echo(f"{username} has no {', '.join(types)} any more")


@agent.command("scope")
@click.argument("username")
@click.argument("scope", type=click.Choice(["own", "team", "all"]))
@click.pass_obj
def agent_scope(env_file: Path, username: str, scope: str) -> None:
    """Say which calls an agent sees whose permissions show analyses.

    own: those whose consultation names the agent; team: those of the agent's team as well; all: every call, as without
    this command. The permission admin sees every call.
    """
    with _accounts(env_file) as accounts:
        accounts.scope(username, scope)
    click.echo(f"{username} sees {WHICH[scope]}")


@agent.command("list", cls=Printing)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def agent_list(env_file: Path, as_json: bool) -> None:
    """Show every account: its state, last login and permissions."""
    with _accounts(env_file) as accounts:
        found = accounts.list_agents()
    if as_json:
        rows = [account.as_dict() for account in found]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2, default=datetime.isoformat))
    elif not found:
        click.echo("no agent has an account: 'callytics agent add USERNAME' makes one")
    else:
        # Only the name and the state say something of every account.
        echo([Table(HEAD, [*map(_cells, found)], spare={1, 2, 3, 5, 6})])


@agent.command("sessions", cls=Printing)
@click.argument("username")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def agent_sessions(env_file: Path, username: str, as_json: bool) -> None:
    """Show an agent's logins: since when, from where, and until when."""
    with _accounts(env_file) as accounts:
        found = accounts.sessions(username)
    if as_json:
        rows = [{name: value for name, value in asdict(one).items() if name != "is_current"} for one in found]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2, default=datetime.isoformat))
    elif not found:
        click.echo(f"{username} is not logged in")
    else:
        echo([Table(SESSION_HEAD, [*map(_session_cells, found)], spare={3, 4, 5})])


@agent.command("end")
@click.argument("username")
@click.argument("session_ids", metavar="[SESSION]...", nargs=-1)
@click.pass_obj
def agent_end(env_file: Path, username: str, session_ids: tuple[str, ...]) -> None:
    """End an agent's logins at once: these, or all of them.

    The agent may log in again; 'agent lock' prevents that.
    """
    with _accounts(env_file) as accounts:
        ended = accounts.end_sessions(username, session_ids)
    click.echo(f"{username} is logged out of {counted(ended, 'session')}")


@contextmanager
def _accounts(env_file: Path) -> Iterator[AgentAccounts]:
    from callytics.agents.accounts import AgentAccounts

    with migrated(env_file) as postgres:
        yield AgentAccounts(postgres)


@contextmanager
def migrated(env_file: Path) -> Iterator[PostgreSQLManager]:
    """Lend the database by a single connection: a command needs no pool.

    Raises MigrationError if the schema is not the one that this version needs.
    """
    from callytics.postgres import PostgreSQLManager
    from callytics.schema import versions

    settings = replace(Settings.load(env_file=env_file), min_connections=1, max_connections=1)
    with PostgreSQLManager(settings) as postgres:
        with postgres.connection() as connection:
            versions.check(connection)
        yield postgres


def _password(from_stdin: bool) -> str:
    """Read a password from stdin or a prompt: an argument would appear in the shell's history and in ps."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked for the password: give it with --password-stdin")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _grant(permission: str, expires: datetime | None) -> Grant:
    from callytics.agents.accounts import Grant

    permission_type, _, level = permission.partition(":")
    if expires and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return Grant(permission_type, level, expires)


def _cells(account: Account) -> tuple[str, ...]:
    state = account.state
    if account.locked_until and state == "locked":
        state = f"locked until {_minute(account.locked_until)}"
    permissions = ", ".join(f"{held['type']}:{held['level']}" for held in account.permissions)
    if account.scope != "all":
        permissions += f" ({WHICH[account.scope]})"
    person = (account.full_name or "", account.department or "", account.position or "")
    return (account.username, *person, state, _minute(account.last_login_at), permissions)


def _session_cells(session: Session) -> tuple[str, ...]:
    moments = (session.issued_at, session.expires_at, session.idle_at)
    return (session.id, *map(_minute, moments), session.ip_address or "", session.user_agent or "")


def _minute(moment: datetime | None) -> str:
    return minute(moment) if moment else ""
