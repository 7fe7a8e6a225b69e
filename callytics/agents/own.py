"""What agents do to their own account: a new password, a look at their sessions, the end of some."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from psycopg.types.json import Jsonb

from callytics.agents import passwords, sessions
from callytics.agents.asking import REQUEST_ID
from callytics.agents.auth import Agent, AgentAuth
from callytics.agents.sessions import Session
from callytics.exceptions import LoginRefused
from callytics.postgres import PostgreSQLManager
from callytics.postgres.as_async import as_async
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_name("own.sql"))


class OwnAccount:
    """The account of whoever is logged in, as far as agents may change it themselves.

    Every change is recorded in agent_activity_logs and the trail, in its own transaction.
    """

    def __init__(self, auth: AgentAuth) -> None:
        self.auth = auth

    @property
    def postgres(self) -> PostgreSQLManager:
        """The manager on which all of this works."""
        return self.auth.postgres

    def change_password(self, agent: Agent, current: str, new: str, *, ip_address: str | None = None) -> None:
        """Replace the password and end every other session of the account.

        Raises PasswordRefused for an unfit new password, and LoginRefused for a wrong current one, which counts like a
        login: a stolen token must not help to guess.
        """
        passwords.refuse_unfit(new, agent.username)
        values = {
            "account_id": agent.account_id,
            "session_id": agent.session_id,
            "password_hash": self.auth.confirm(agent, current, ip_address=ip_address),
            "new_hash": self.auth.passwords.hash(new),
        }
        with self.postgres.transaction():
            if self.postgres.execute_query(SQL["change_password"], values, fetch="val") is None:
                raise LoginRefused
            self.postgres.execute_query(SQL["end_others"], values, fetch="none")
            self._log(agent, "account.password", "profile_update", {"change": "password"})

    async def achange_password(self, agent: Agent, current: str, new: str, *, ip_address: str | None = None) -> None:
        """Do as `change_password`, at a turn of its own before all logins; raises TooManyLogins, too."""
        work = partial(self.change_password, agent, current, new, ip_address=ip_address)
        await self.postgres.in_thread_of(partial(self.auth.turns.take, rank=0), work)

    def sessions(self, agent: Agent) -> list[Session]:
        """Return the account's sessions in force, the newest first."""
        return sessions.in_force(self.postgres, agent.account_id, agent.id, current=agent.session_id)

    asessions = as_async(sessions)

    def end(self, agent: Agent, session_id: str | None = None) -> int:
        """End one session of the account, or all of them, the agent's own too; return how many there were."""
        with self.postgres.transaction():
            ended = sessions.end(self.postgres, agent.account_id, session_id)
            if ended:
                self._log(agent, "logout", "logout", {"outcome": "accepted", "sessions": ended})
        return ended

    aend = as_async(end)

    def _log(self, agent: Agent, action: str, activity: str, data: dict[str, object]) -> None:
        values = {
            "agent_id": agent.id,
            "request_id": REQUEST_ID.get(),
            "action": action,
            "activity": activity,
            "session_id": agent.session_id,
            "data": Jsonb(data),
        }
        self.postgres.execute_query(SQL["log"], values, fetch="none")
