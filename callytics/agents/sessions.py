"""Sessions of an account: which ones are in force, and how they end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from callytics.postgres import PostgreSQLManager
from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_name("sessions.sql"))


@dataclass(frozen=True)
class Session:
    """A login in force: since when, until when at most and unless it is used, from where, and whether it asks itself.

    ``idle_at`` is None until the first request after an upgrade from a version without it.
    """

    id: str
    issued_at: datetime
    expires_at: datetime
    idle_at: datetime | None
    is_current: bool
    ip_address: str | None
    user_agent: str | None


def in_force(
    postgres: PostgreSQLManager, account_id: int, agent_id: int | None, *, current: str | None = None
) -> list[Session]:
    """Return an account's sessions in force, the newest first; ``current`` is the id of the one that asks."""
    values = {"account_id": account_id, "agent_id": agent_id, "current": current}
    return [Session(**row) for row in postgres.execute_query(SQL["in_force"], values)]


def end(postgres: PostgreSQLManager, account_id: int, session_id: str | None = None) -> int:
    """End one session of an account, or all of them; return how many there were."""
    return int(postgres.execute_query(SQL["end"], {"account_id": account_id, "ended": session_id}, fetch="none"))
