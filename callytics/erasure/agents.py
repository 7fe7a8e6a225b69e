"""Which agent a name means: the account, and the spellings by which calls name its owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection

from callytics.agents.names import looked_up
from callytics.erasure.keys import SQL
from callytics.exceptions import ErasureError
from callytics.postgres.sql import Row
from callytics.schema.belongings import personal


@dataclass(frozen=True)
class Agent:
    """An agent: none or one account and profile, and the names that calls have for it."""

    accounts: Sequence[int]
    profiles: Sequence[int]
    names: Sequence[str]
    notes: Sequence[str] = ()


def found_agent(connection: Connection, name: str) -> Agent:
    """Return the agent of a username, or of a full name that only one has or that calls alone have.

    Letters are compared composed, so that 김민수 is found however it was typed. Raises ``ErasureError`` for a name that
    nobody has, and for one of several.
    """
    username = looked_up(name)
    # What can't be a name can't be sent either.
    accounts = SQL.all(connection, "account", {**username, "name": name}) if username["username"] else []
    if len(accounts) > 1:
        several = ", ".join(str(one["username"]) for one in accounts)
        raise ErasureError(f"several agents have that name: give --agent the username of one of them: {several}")
    if accounts:
        return _agent(connection, accounts[0])
    names = _spellings(connection, [name]) if username["username"] else []
    if not names:
        raise ErasureError(
            "there is no agent of that name, and no call has it: 'callytics agent list' names the agents"
        )
    return Agent([], [], names)


def _agent(connection: Connection, account: Row) -> Agent:
    full_name, profile = account["full_name"], account["profile"]
    own, notes = [account["username"]], []
    if full_name and SQL.value(connection, "namesakes", {"name": full_name, "profile": profile}):
        notes.append("another agent has the same full name: whose calls those are can't be told, so they keep it")
    elif full_name:
        own.append(full_name)
    profiles = [profile] if profile is not None else []
    return Agent([account["id"]], profiles, _spellings(connection, own), notes)


def _spellings(connection: Connection, names: Sequence[str]) -> list[str]:
    found: set[str] = set()
    values: dict[str, Any] = {"names": list(names)}
    for one in personal():
        for column in one.names:
            rows = SQL.rows(connection, "spellings", values, table=one.table, column=column)
            found.update(name for (name,) in rows)
    return sorted(found)
