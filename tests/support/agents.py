"""Agents for the tests of accounts and logins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from argon2 import PasswordHasher

from callytics.agents import AgentAccounts, AgentAuth, Grant, Profile
from callytics.agents.passwords import Passwords
from callytics.postgres import PostgreSQLManager, connect
from callytics.settings import ServiceSettings, Settings

CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
PASSWORD = "정확한 말 배터리 스테이플"
WRONG = "틀린 말 배터리 스테이플"
KIM = Profile("민수", "김", "고객지원팀", "상담사", email="minsu@callytics.example", employee_id="E1", team="1조")
SERVICE = ServiceSettings(
    jwt_secret_key="a key for tests that is as long as it has to be", max_login_attempts=3, account_lock_minutes=30
)


class Counting(Passwords):
    """Cheap passwords that remember what was asked of them."""

    def __init__(self, **costs: int) -> None:
        super().__init__(PasswordHasher(**CHEAP | costs), at_once=50)
        self.checked: list[str | None] = []
        self.hashed = 0
        self._lock = threading.Lock()

    def matches(self, stored: str | None, password: str) -> bool:
        with self._lock:
            self.checked.append(stored)
        return super().matches(stored, password)

    def hash(self, password: str) -> str:
        with self._lock:
            self.hashed += 1
        return super().hash(password)


@contextmanager
def agents_of(database: Settings, *, passwords: Passwords | None = None, empty: bool = True) -> Iterator[AgentAuth]:
    """Lend the agents of a database, as the application's role; ``empty`` deletes those that there are."""
    with PostgreSQLManager(replace(database, min_connections=1, max_connections=8), timeout=30) as postgres:
        auth = AgentAuth(postgres, SERVICE, passwords=passwords or Counting())
        if empty:
            run(auth, "delete from agent_accounts")
            run(auth, "delete from agent_activity_logs")
        yield auth


def accounts_of(auth: AgentAuth) -> AgentAccounts:
    """Return the accounts of the database that an AgentAuth lets agents into."""
    return AgentAccounts(auth.postgres, passwords=auth.passwords)


def add_kim(auth: AgentAuth, *grants: Grant) -> int:
    """Make the account kim."""
    return accounts_of(auth).add_agent("kim", PASSWORD, KIM, grants)


def ask(auth: AgentAuth, query: str, *values: object) -> Any:
    """Return the first value."""
    return auth.postgres.execute_query(query, values or None, fetch="val")


def run(auth: AgentAuth, statement: str, *values: object) -> None:
    """Do something to the tables behind the program's back."""
    # As the owner: the application may not delete accounts, nor change a trail.
    with closing(connect(auth.postgres.settings, owner=True)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def logged(auth: AgentAuth) -> list[dict[str, Any]]:
    """Return the activity log, but for changes of accounts, and for attempts, which come before what came of them."""
    return list(
        auth.postgres.execute_query(
            "select agent_id, activity_type, activity_description, ip_address, user_agent, session_id, activity_data "
            "from agent_activity_logs "
            "where activity_type in ('login', 'logout') and activity_data ->> 'outcome' <> 'tried' order by id"
        )
    )


def count_queries(auth: AgentAuth, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list whose only number is how many queries have been asked since."""
    count = [0]
    execute = auth.postgres.execute_query

    def counting(*query: Any, **how: Any) -> Any:
        count[0] += 1
        return execute(*query, **how)

    monkeypatch.setattr(auth.postgres, "execute_query", counting)
    return count
