"""Logins of agents, the tokens that identify them, and logouts."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import jwt

from callytics.agents.asking import REQUEST_ID
from callytics.agents.names import looked_up
from callytics.agents.networks import host, network
from callytics.agents.passwords import Passwords
from callytics.agents.permissions import allows
from callytics.agents.turns import Turns
from callytics.exceptions import DiskFull, LoginRefused, NotAuthenticated, NotPermitted, ReadOnlyServer
from callytics.postgres import PostgreSQLManager
from callytics.postgres.as_async import as_async
from callytics.postgres.sql import Queries
from callytics.postgres.text import replaced
from callytics.settings import ServiceSettings

SQL = Queries(Path(__file__).with_name("auth.sql"))
ISSUER, AUDIENCE = "callytics", "callytics-api"
ALGORITHM = "HS256"
CLAIMS = ["iss", "aud", "sub", "jti", "iat", "exp"]
# How far the clocks of the application's hosts and the database may differ.
LEEWAY_SECONDS = 10
# Ours have about 300 characters. Anything much longer is refused before it costs the time to decode it.
LONGEST_TOKEN = 2048
# A place from which an agent has entered within so many days keeps a way in.
KNOWN_DAYS = 30
# Guesses from so many unknown networks are counted before an account is slowed down for all of these.
NETWORKS = 4
# How often a login starts over because the hash changed meanwhile, usually by another login that upgraded it.
TRIES = 3


@dataclass(frozen=True)
class Agent:
    """The agent who is logged in. ``id`` is the profile's; ``permissions`` are the current level of each type."""

    id: int
    account_id: int
    username: str
    full_name: str
    session_id: str
    permissions: Mapping[str, str]
    # Which calls the agent may see: own, team or all.
    scope: str = "all"


@dataclass(frozen=True)
class LoginSession:
    """A login: its token, which stays out of the repr and hence out of logs, when it expires, and its agent."""

    token: str = field(repr=False)
    expires_at: datetime
    agent: Agent


@dataclass(frozen=True)
class _Attempt:
    account_id: int | None
    agent_id: int | None
    place: str | None
    is_known: bool | None
    verdict: str
    password_hash: str | None = field(repr=False)
    origin: Mapping[str, str | None]


class AgentAuth:
    """Logins by username and password, and sessions as signed tokens that can be ended.

    Neither the words nor the time of a refusal tell its reason. It makes and changes no account, which is for
    `AgentAccounts`: whatever holds an AgentAuth can let agents in, and nothing else. ``passwords`` decides how
    passwords are hashed. Safe to share between threads.
    """

    def __init__(
        self, postgres: PostgreSQLManager, settings: ServiceSettings, *, passwords: Passwords | None = None
    ) -> None:
        self.postgres = postgres
        self.settings = settings
        self.passwords = passwords or Passwords()
        # No more than are hashed at once: one that holds a turn and waits for a hash would make a better one wait.
        self.turns = Turns(self.passwords.at_once)

    def login(
        self, username: str, password: str, *, ip_address: str | None = None, user_agent: str | None = None
    ) -> LoginSession:
        """Log an agent in by password and return the session; raise LoginRefused, the same for every reason.

        The attempt is counted, logged and committed before the password is checked: however many guesses arrive at
        once, no more than MAX_LOGIN_ATTEMPTS from one network are evaluated before the account is locked for it for
        ACCOUNT_LOCK_MINUTES. Guesses from all networks together are slowed down after four times as many, except where
        the agent has entered within 30 days. Success resets the count, and upgrades an outdated hash. No
        connection is held while hashes are computed.
        Do not call it inside a transaction, whose rollback would undo the count.
        """
        attempt = self._attempt(username, _origin(ip_address, user_agent))
        password_hash = attempt.password_hash
        for _ in range(TRIES):
            if not self.passwords.matches(password_hash, password) or password_hash is None:
                break
            if session := self._enter(attempt, password_hash, password):
                return session
            password_hash = self.postgres.execute_query(
                SQL["password_hash"], {"account_id": attempt.account_id}, fetch="val"
            )
        raise self._refused(attempt)

    async def alogin(
        self,
        username: str,
        password: str,
        *,
        ip_address: str | None = None,
        user_agent: str | None = None,
        rank: int = 1,
    ) -> LoginSession:
        """Log in as `login` does, in a thread outside the pool, since pool threads hold a connection each.

        Joins no transaction. Waits for its turn, by ``rank``, the lowest first; raises TooManyLogins where too many
        wait. If its caller is cancelled its query is, so that nobody else waits for a turn of which nothing comes.
        """
        work = partial(self.login, username, password, ip_address=ip_address, user_agent=user_agent)
        return await self.postgres.in_thread_of(partial(self.turns.take, rank=rank), work)

    def logout(self, token: str) -> None:
        """End a session; raise NotAuthenticated if the token is not, or no longer, valid."""
        with self.postgres.transaction():
            agent = self.authenticate(token)
            values = {"agent_id": agent.id, "session_id": agent.session_id, "request_id": REQUEST_ID.get()}
            if not self.postgres.execute_query(SQL["end_session"], values, fetch="none"):
                raise NotAuthenticated
            self.postgres.execute_query(SQL["log_logout"], values, fetch="none")

    alogout = as_async(logout)

    def check(self, token: str) -> None:
        """Raise NotAuthenticated for a token that we did not sign or that has expired, without a query.

        Any other may still be refused by `authenticate`: its session may have ended.
        """
        self._claims(token)

    def authenticate(self, token: str) -> Agent:
        """Return the agent of a token; raise NotAuthenticated if it is forged or expired, or its session has ended.

        A session ends when it is not used for SESSION_IDLE_MINUTES, too; this is a use of it.
        The session is looked up each time, and those of accounts and profiles that are no longer active do not count,
        however they became inactive: a signed token alone could not be revoked before it expires.
        """
        found = self._agent(**self._claims(token))
        if found is None:
            raise NotAuthenticated
        agent, is_noted = found
        if not is_noted:
            self._note_use(agent)
        return agent

    aauthenticate = as_async(authenticate)

    def require(self, agent: Agent, permission_type: str, level: str) -> None:
        """Raise NotPermitted unless the agent's permissions include a level of a type; the type admin covers all types.

        Checks what `authenticate` returned, without a query. Raises ValueError for a type or level that does not
        exist.
        """
        if not allows(agent.permissions, permission_type, level):
            raise NotPermitted(f"this takes the permission {permission_type}:{level}: ask an administrator for it")

    def visible(self, agent: Agent) -> list[str] | None:
        """Return by whose names the calls are known that an agent may see, or None where that is all calls.

        It is what the agent's scope says, but for the permission admin, which sees everything.
        """
        if agent.scope == "all" or allows(agent.permissions, "admin", "read"):
            return None
        values = {"agent_id": agent.id, "scope": agent.scope}
        return [row["full_name"] for row in self.postgres.execute_query(SQL["visible"], values)]

    avisible = as_async(visible)

    def confirm(self, agent: Agent, password: str, *, ip_address: str | None = None) -> str:
        """Check the password of an agent who is logged in, and return its hash; raise LoginRefused for a wrong one.

        Counted and logged as a login is, and refused where that would be.
        """
        attempt = self._attempt(agent.username, _origin(ip_address, None))
        stored = attempt.password_hash
        if not self.passwords.matches(stored, password) or stored is None or attempt.account_id != agent.account_id:
            raise self._refused(attempt)
        self.postgres.execute_query(SQL["confirmed"], _values(attempt), fetch="none")
        return stored

    def knows(self, username: str, ip_address: str | None) -> bool:
        """Tell whether the agent of a username has entered from an address or its network lately."""
        parameters = {**looked_up(username), **_origin(ip_address, None), "known_days": KNOWN_DAYS}
        return bool(self.postgres.execute_query(SQL["known"], parameters, fetch="val"))

    aknows = as_async(knows)

    def _attempt(self, username: str, origin: Mapping[str, str | None]) -> _Attempt:
        most = self.settings.max_login_attempts
        parameters = {
            **looked_up(username),
            **origin,
            "known_days": KNOWN_DAYS,
            "most": most,
            "most_unknown": most * NETWORKS,
            "minutes": self.settings.account_lock_minutes,
        }
        [attempt] = self.postgres.execute_query(SQL["attempt"], parameters)
        return _Attempt(**attempt, origin=origin)

    def _refused(self, attempt: _Attempt) -> LoginRefused:
        """Log that an attempt was refused, and return what to raise."""
        self.postgres.execute_query(SQL["refused"], _values(attempt), fetch="none")
        return LoginRefused()

    def _enter(self, attempt: _Attempt, password_hash: str, password: str) -> LoginSession | None:
        """Open a session, or return None if the account has changed since its hash was read."""
        current = self.passwords.is_current(password_hash)
        # Typed on command lines, where a word must not begin with a hyphen.
        session_id = secrets.token_hex(24)
        parameters = {
            **_values(attempt),
            "is_known": bool(attempt.is_known),
            "password_hash": password_hash,
            # Hashed before the transaction: it takes a tenth of a second, in which no connection should be held.
            "new_hash": password_hash if current else self.passwords.hash(password),
            "session_id": session_id,
            "minutes": self.settings.jwt_expire_minutes,
            "idle_minutes": self.settings.session_idle_minutes,
        }
        with self.postgres.transaction():
            opened = self.postgres.execute_query(SQL["enter"], parameters, fetch="one")
            if opened is None:
                return None
            # Here, so that no timer is needed: each login removes more than it adds.
            self.postgres.execute_query(SQL["forget_sessions"], fetch="none")
            self.postgres.execute_query(SQL["forget_places"], fetch="none")
            found = self._agent(session_id, str(attempt.account_id))
            if found is None:
                raise LoginRefused
        agent, _is_noted = found
        return LoginSession(self._token(agent, **opened), opened["expires_at"], agent)

    def _agent(self, session_id: str, account_id: str) -> tuple[Agent, bool] | None:
        """Return the agent of a session, and whether its use was noted lately."""
        values = {
            "session_id": session_id,
            "account_id": account_id,
            "idle_minutes": self.settings.session_idle_minutes,
        }
        found = self.postgres.execute_query(SQL["agent"], values, fetch="one")
        if found is None:
            return None
        is_noted = found.pop("is_noted")
        return Agent(**found), is_noted

    def _note_use(self, agent: Agent) -> None:
        values = {"session_id": agent.session_id, "idle_minutes": self.settings.session_idle_minutes}
        # Reading goes on where nothing can be written any more; the session then may end although it was used.
        with suppress(DiskFull, ReadOnlyServer):
            self.postgres.execute_query(SQL["note_use"], values, fetch="none")

    def _token(self, agent: Agent, issued_at: datetime, expires_at: datetime) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(agent.account_id),
            "jti": agent.session_id,
            "iat": issued_at,
            "exp": expires_at,
        }
        return jwt.encode(claims, self.settings.jwt_secret_key, algorithm=ALGORITHM)

    def _claims(self, token: str) -> dict[str, str]:
        """Return session and account of a token that we signed for ourselves and that has not expired."""
        if len(token) > LONGEST_TOKEN:
            raise NotAuthenticated
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.settings.jwt_secret_key,
                # Never the token's own choice: it could name "none" (RFC 8725, 3.1).
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=LEEWAY_SECONDS,
                options={"require": CLAIMS},
            )
        except (jwt.InvalidTokenError, UnicodeError):
            raise NotAuthenticated from None
        # Other programs may sign with the same key and put something else into these claims.
        if not re.fullmatch(r"[0-9]{1,18} [\w-]+", f"{claims['sub']} {claims['jti']}", re.ASCII):
            raise NotAuthenticated
        return {"session_id": claims["jti"], "account_id": claims["sub"]}


def _origin(ip_address: str | None, user_agent: str | None) -> dict[str, str | None]:
    address = _text(ip_address, 64)
    return {
        "ip_address": address,
        "host": host(address or ""),
        "network": network(address),
        "user_agent": _text(user_agent, 512),
    }


def _values(attempt: _Attempt) -> dict[str, Any]:
    """Return the query parameters of an attempt, but for the hash."""
    return {
        **attempt.origin,
        "account_id": attempt.account_id,
        "agent_id": attempt.agent_id,
        "place": attempt.place,
        "verdict": attempt.verdict,
        "request_id": REQUEST_ID.get(),
    }


def _text(text: str | None, most: int) -> str | None:
    """Return what a client says about itself in a form that PostgreSQL can hold."""
    if text is None:
        return None
    return replaced(text.replace("\0", ""), "?")[:most]
