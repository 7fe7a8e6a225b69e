"""The migration of sessions: a rollback keeps them, and the refusals that are nobody's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from callytics.postgres import connect
from callytics.settings import Settings
from tests.support.migrating import down, up

MIGRATION = "0050.agent-sessions"
Ask = Callable[..., Any]

REFUSED = "insert into agent_activity_logs (activity_type, created_at) values ('login', %s) returning id"
FILLED = """
with account as (insert into agent_accounts (username, password_hash) values ('kim', 'x') returning id)
insert into agent_sessions (id, account_id, issued_at, expires_at, revoked_at, reason)
select 'a', id, '2026-01-01', '2026-01-02', '2026-01-01', 'logout' from account
"""
LOGS = """
select jsonb_agg(to_jsonb(l) || jsonb_build_object('table', tableoid::regclass) order by id)
from agent_activity_logs as l
"""
SESSIONS = "select jsonb_agg(to_jsonb(s)) from agent_sessions as s"


@pytest.fixture
def ask(database: Settings) -> Iterator[Ask]:
    with closing(connect(database, owner=True)) as connection:
        yield lambda statement, *values: _ask(connection, statement, *values)


def _ask(connection: Connection, statement: str, *values: object) -> Any:
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def test_a_rollback_keeps_sessions_and_refusals_and_the_next_apply_has_them(database: Settings, ask: Ask) -> None:
    ask("select keep_partitions_ahead(1)")
    ask(FILLED)
    for moment in ("now", None, "2020-05-05", "infinity"):
        ask(REFUSED, moment)
    before = [ask(LOGS), ask(SESSIONS)]
    assert len({line["table"] for line in before[0]}) == 2
    for _ in range(2):
        down(database, MIGRATION)
        assert ask("select count(*) from agent_activity_logs") == 0
        with pytest.raises(psycopg2.errors.NotNullViolation):
            ask(REFUSED, "now")
        up(database)
        assert [ask(LOGS), ask(SESSIONS)] == before
        assert ask("select to_regnamespace('agent_sessions_rolled_back') is null")
    assert ask("select has_table_privilege('callytics_user', 'agent_sessions', 'select, insert, update, delete')")


@pytest.mark.slow
def test_everything_rolled_back_and_applied_again_has_them_too(database: Settings, ask: Ask) -> None:
    ask(FILLED)
    for moment in ("now", None):
        ask(REFUSED, moment)
    before = [ask(LOGS), ask(SESSIONS)]
    down(database)
    up(database)
    assert [ask(LOGS), ask(SESSIONS)] == before


def test_a_month_made_later_takes_a_refusal_too(ask: Ask) -> None:
    ask("select ensure_month_partitions('agent_activity_logs', '2031-03-01', '2031-03-01')")
    ask(REFUSED, "2031-03-03")
    assert ask("select count(*) from agent_activity_logs_2031_03") == 1


def test_sessions_go_with_their_account(ask: Ask) -> None:
    ask(FILLED)
    ask("delete from agent_accounts")
    assert ask("select count(*) from agent_sessions") == 0


def test_the_application_keeps_sessions(database: Settings) -> None:
    with closing(connect(database)) as application:
        _ask(application, FILLED)
        assert _ask(application, "select count(*) from agent_rights") == 0
        _ask(application, "update agent_sessions set revoked_at = now()")
        _ask(application, "delete from agent_sessions")
