"""Agents' accounts: creating, changing, locking and listing them. Logging in is in auth.py."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from callytics.agents import passwords, permissions, sessions
from callytics.agents.asking import REQUEST_ID
from callytics.agents.names import folded, looked_up, new_name
from callytics.agents.passwords import Passwords
from callytics.agents.sessions import Session
from callytics.exceptions import AgentError
from callytics.postgres import PostgreSQLManager
from callytics.postgres.as_async import as_async
from callytics.postgres.sql import Queries
from callytics.postgres.text import quoted

SQL = Queries(Path(__file__).with_name("accounts.sql"))


@dataclass(frozen=True)
class Profile:
    """An agent as a person. Without ``full_name``, it is composed of first and last name."""

    first_name: str
    last_name: str
    department: str
    position: str
    full_name: str | None = None
    email: str | None = None
    employee_id: str | None = None
    team: str | None = None


@dataclass(frozen=True)
class Grant:
    """A permission: a type, a level (read < write < admin) and when it expires, with a time zone; None: never."""

    permission_type: str
    level: str
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Account:
    """An account as administrators see it, without its password's hash.

    ``password`` is the kind of that hash: argon2id, pbkdf2 (imported, until the next login) or unusable.
    ``permissions`` are the current ones, ``scope`` which calls they show, ``sessions`` counts the current logins. An
    account without a profile, whose
    ``agent_id`` is None, can't log in.
    """

    account_id: int
    agent_id: int | None
    username: str
    full_name: str | None
    email: str | None
    department: str | None
    position: str | None
    status: str | None
    profile_active: bool | None
    login_attempts: int
    locked_until: datetime | None
    last_login_at: datetime | None
    password: str
    permissions: list[dict[str, Any]]
    scope: str
    sessions: int

    @property
    def state(self) -> str:
        """Whether this account may log in, and if not, why, in a word or two."""
        if self.status != "active":
            return self.status or "no status"
        if self.agent_id is None:
            return "no profile"
        if not self.profile_active:
            return "inactive"
        return "locked" if self.locked_until else "active"

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {**asdict(self), "state": self.state}


class AgentAccounts:
    """Accounts, profiles and permissions of agents, by username.

    Each method runs in one transaction, or joins the open one, and records what it changed in agent_activity_logs and
    the audit trail.
    Raises AgentError if there is no such account. Every method has an async counterpart, prefixed with ``a``.
    """

    def __init__(self, postgres: PostgreSQLManager, *, passwords: Passwords | None = None) -> None:
        self.postgres = postgres
        self.passwords = passwords or Passwords()

    def add_agent(self, username: str, password: str, profile: Profile, grants: tuple[Grant, ...] = ()) -> int:
        """Create an account that may log in, with profile, settings and permissions, and return the agent's id.

        All or nothing. Raises AgentError if the username, email or employee number is taken, the username can pass for
        another or a permission does not exist, and PasswordRefused for an unfit password.
        """
        username = new_name(username)
        for grant in grants:
            _refuse_unknown(grant)
        passwords.refuse_unfit(password, username)
        # Before the transaction: hashing takes a tenth of a second, during which no connection should be held.
        password_hash = self.passwords.hash(password)
        with self.postgres.transaction():
            account_id = self._add_account(username, password_hash, profile)
            agent_id = self._add_profile(account_id, profile)
            self._run("add_settings", agent_id=agent_id)
            for grant in grants:
                self._grant(agent_id, grant, granted_by=None)
            given = ", ".join(f"{grant.permission_type}:{grant.level}" for grant in grants)
            more = {"permissions": given} if given else {}
            self._log_change(agent_id, "added", None, **more)
        return agent_id

    aadd_agent = as_async(add_agent)

    def check_new(self, username: str, grants: tuple[Grant, ...] = ()) -> None:
        """Raise AgentError where ``add_agent`` would for these, before anybody is asked for the rest."""
        username = new_name(username)
        for grant in grants:
            _refuse_unknown(grant)
        if self._value("is_taken", username=username, folded=folded(username)):
            raise _taken(username)

    def check_known(self, username: str) -> None:
        """Raise AgentError for an agent who does not exist, before anybody is asked for a password."""
        with self.postgres.transaction():
            self._locked(username)

    def set_password(self, username: str, password: str) -> None:
        """Replace a password, end every session of the account, and lift a lock caused by wrong passwords.

        Raises PasswordRefused for an unfit password.
        """
        passwords.refuse_unfit(password, username)
        password_hash = self.passwords.hash(password)
        with self.postgres.transaction():
            account = self._locked(username)
            self._run("set_password", account_id=account["id"], password_hash=password_hash)
            self._run("forget_guesses", account_id=account["id"])
            self._run("revoke_sessions", account_id=account["id"], reason="password")
            self._log_change(account["agent_id"], "password")

    aset_password = as_async(set_password)

    def sessions(self, username: str) -> list[Session]:
        """Return an agent's logins in force, the newest first."""
        account = self._find(username)
        return sessions.in_force(self.postgres, account["id"], account["agent_id"])

    asessions = as_async(sessions)

    def end_sessions(self, username: str, session_ids: tuple[str, ...] = ()) -> int:
        """End an agent's sessions of these ids, or all of them without any; return how many there were.

        Raises AgentError, and ends none, where one of them is not in force.
        """
        with self.postgres.transaction():
            account = self._locked(username)
            ended = [(one, sessions.end(self.postgres, account["id"], one)) for one in session_ids or (None,)]
            for session_id, found in ended:
                if session_id is not None and not found:
                    raise AgentError(
                        f"agent '{username}' has no such session: "
                        f"{quoted('callytics agent sessions', username)} shows them"
                    )
            number = sum(found for _, found in ended)
            self._log_change(account["agent_id"], "logout", sessions=str(number))
        return number

    aend_sessions = as_async(end_sessions)

    def lock(self, username: str) -> None:
        """Refuse an agent's logins until ``unlock``, and end every session of the account."""
        with self.postgres.transaction():
            account = self._locked(username)
            self._run("lock", account_id=account["id"])
            self._run("revoke_sessions", account_id=account["id"], reason="lock")
            self._log_change(account["agent_id"], "lock")

    alock = as_async(lock)

    def unlock(self, username: str) -> None:
        """Allow the logins of an agent who was locked out, by ``lock`` or by wrong passwords.

        Raises AgentError for an account that is inactive or pending: see ``activate``.
        """
        with self.postgres.transaction():
            account = self._locked(username)
            if account["account_status"] in ("inactive", "pending"):
                status = account["account_status"]
                raise AgentError(f"agent '{username}' is {status}, not locked: 'agent unlock --activate' lets it in")
            self._run("unlock", account_id=account["id"])
            self._run("forget_guesses", account_id=account["id"])
            self._log_change(account["agent_id"], "unlock")

    aunlock = as_async(unlock)

    def activate(self, username: str) -> None:
        """Allow an agent's logins, whether the account was locked, inactive or pending."""
        with self.postgres.transaction():
            account = self._locked(username)
            self._run("unlock", account_id=account["id"])
            self._run("forget_guesses", account_id=account["id"])
            self._run("set_profile_active", account_id=account["id"], is_active=True)
            self._log_change(account["agent_id"], "activation")

    aactivate = as_async(activate)

    def deactivate(self, username: str) -> None:
        """Close the account of an agent who has left: account and profile become inactive, every session ends."""
        with self.postgres.transaction():
            account = self._locked(username)
            self._run("deactivate", account_id=account["id"])
            self._run("set_profile_active", account_id=account["id"], is_active=False)
            self._run("revoke_sessions", account_id=account["id"], reason="deactivation")
            self._log_change(account["agent_id"], "deactivation")

    adeactivate = as_async(deactivate)

    def grant(self, username: str, grant: Grant, *, granted_by: int | None = None) -> None:
        """Make this the agent's only permission of its type, until it expires; ``granted_by`` is an agent's id.

        Current sessions have the new permission at once. Raises AgentError for a type or level that does not exist, a
        time in the past, and an account without a profile.
        """
        _refuse_unknown(grant)
        with self.postgres.transaction():
            agent_id = self._agent_id(username)
            self._grant(agent_id, grant, granted_by)
            self._log_change(agent_id, "grant", granted_by, permission=f"{grant.permission_type}:{grant.level}")

    agrant = as_async(grant)

    def revoke(self, username: str, permission_type: str) -> None:
        """Take every permission of a type away, with immediate effect on current sessions.

        Raises AgentError if the agent has none.
        """
        with self.postgres.transaction():
            agent_id = self._agent_id(username)
            if not self._run("revoke", agent_id=agent_id, permission_type=permission_type):
                raise AgentError(f"agent '{username}' has no permission of type '{permission_type}'")
            self._log_change(agent_id, "revoke", permission=permission_type)

    arevoke = as_async(revoke)

    def scope(self, username: str, scope: str) -> None:
        """Let an agent who may view analyses see their own calls, those of their team, or all; at once.

        Raises AgentError for a scope that does not exist, and an account without a profile.
        """
        if scope not in permissions.SCOPES:
            raise AgentError(f"scope '{scope}' does not exist: use one of {', '.join(permissions.SCOPES)}")
        with self.postgres.transaction():
            agent_id = self._agent_id(username)
            self._run("scope", agent_id=agent_id, scope=scope)
            self._log_change(agent_id, "scope", None, permission=f"calls:{scope}")

    ascope = as_async(scope)

    def list_agents(self) -> list[Account]:
        """Return every account in order of username, including those without a profile."""
        rows = self.postgres.execute_query(SQL["list"])
        return [_account(row) for row in rows]

    alist_agents = as_async(list_agents)

    def _add_account(self, username: str, password_hash: str, profile: Profile) -> int:
        values = {"username": username, "folded": folded(username), "email": profile.email}
        account_id = self._value("add_account", password_hash=password_hash, **values)
        if account_id is None:
            raise _taken(username)
        return int(account_id)

    def _add_profile(self, account_id: int, profile: Profile) -> int:
        values = asdict(profile) | {"full_name": profile.full_name or full_name(profile.first_name, profile.last_name)}
        agent_id = self._value("add_profile", account_id=account_id, **values)
        if agent_id is None:
            raise AgentError(f"employee number '{profile.employee_id}' is taken: give another one")
        return int(agent_id)

    def _grant(self, agent_id: int, grant: Grant, granted_by: int | None) -> None:
        # A type has one level at a time: granting read takes write away.
        self._run("revoke", agent_id=agent_id, permission_type=grant.permission_type)
        self._run("grant", agent_id=agent_id, granted_by=granted_by, **asdict(grant))

    def _agent_id(self, username: str) -> int:
        agent_id = self._locked(username)["agent_id"]
        if agent_id is None:
            raise AgentError(f"account '{username}' has no profile, so it can't hold permissions")
        return int(agent_id)

    def _locked(self, username: str) -> dict[str, Any]:
        """Return an account, its row locked until the transaction ends: two changes at once take turns."""
        self.postgres.execute_query(SQL["hold"], looked_up(username), fetch="none")
        return self._find(username)

    def _find(self, username: str) -> dict[str, Any]:
        """Return an account for who only looks, which works on a server that takes no writes as well."""
        found = self.postgres.execute_query(SQL["find"], looked_up(username), fetch="one")
        if found is None:
            raise AgentError(f"there is no agent '{username}': 'callytics agent list' shows who there is")
        return dict(found)

    def _log_change(self, agent_id: int | None, change: str, by: int | None = None, **more: str) -> None:
        self._run(
            "log_change",
            agent_id=agent_id,
            action=f"permission.{change}" if "permission" in more else f"account.{change}",
            by=by,
            request_id=REQUEST_ID.get(),
            activity_data=Jsonb({"change": change, **more}),
        )

    def _run(self, query: str, **parameters: Any) -> int:
        return int(self.postgres.execute_query(SQL[query], parameters, fetch="none"))

    def _value(self, query: str, **parameters: Any) -> Any:
        return self.postgres.execute_query(SQL[query], parameters, fetch="val")


def full_name(first_name: str, last_name: str) -> str:
    """Return a full name: family name first and without a space in Hangul and Chinese characters, otherwise last."""
    name = last_name + first_name
    if name and all(unicodedata.name(letter, "").startswith(("HANGUL", "CJK")) for letter in name):
        return name
    return f"{first_name} {last_name}"


def _account(row: dict[str, Any]) -> Account:
    password_hash = row.pop("password_hash")
    return Account(**row, password=passwords.kind(password_hash))


def _taken(username: str) -> AgentError:
    return AgentError(f"username '{username}' or the email is taken: 'callytics agent list' shows by whom")


def _refuse_unknown(grant: Grant) -> None:
    if grant.permission_type not in permissions.TYPES or grant.level not in permissions.LEVELS:
        wanted = f"{grant.permission_type}:{grant.level}"
        types, levels = ", ".join(permissions.TYPES), ", ".join(permissions.LEVELS)
        raise AgentError(f"permission '{wanted}' does not exist: the types are {types}, the levels {levels}")
    if grant.expires_at and grant.expires_at <= datetime.now(UTC):
        raise AgentError(f"{grant.expires_at.isoformat()} has passed: let the permission expire later")
