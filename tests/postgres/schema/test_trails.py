"""Trails only grow, whoever has got the application's login; those who look see nothing that would let them in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from callytics.postgres import connect
from callytics.schema import grants
from callytics.schema.doctor.doctor import examine
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres

pytestmark = pytest.mark.slow

Ask = Callable[..., Any]
TRAILS = ["agent_activity_logs", "audit_log"]
ACCOUNT = """
with account as (insert into agent_accounts (username, password_hash) values ('kim', 'x') returning id)
insert into agent_profiles (account_id, full_name, first_name, last_name, department, position)
select id, 'a', 'b', 'c', 'd', 'e' from account
returning id
"""
PARTS = """
select array_agg(c.oid::regclass::text)
from pg_class as c
where coalesce(pg_partition_root(c.oid), c.oid) = %s::regclass and relkind in ('r', 'p')
"""
# A table, the columns that those who look do not see, and one that they see.
SECRETS = {
    "agent_accounts": (["password_hash"], "username"),
    "agent_sessions": (["id"], "issued_at"),
    "agent_activity_logs": (["session_id"], "activity_type"),
    "agent_activity_logs_2031_03": (["session_id"], "activity_type"),
    "imports.rejected": (["raw", "source_row"], "reason"),
    "imports.unmapped": (["source_row"], "source_rowid"),
    "imports.shared": (["source_row", "target_row"], "target_id"),
}


def asking(settings: Settings, *, owner: bool, role: str | None = None) -> Iterator[Ask]:
    with closing(connect(settings, owner=owner)) as connection:
        connection.autocommit = True

        def ask(statement: str, *values: object) -> Any:
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]

        yield ask


@pytest.fixture
def owner(database: Settings) -> Iterator[Ask]:
    yield from asking(database, owner=True)


@pytest.fixture
def application(database: Settings) -> Iterator[Ask]:
    yield from asking(database, owner=False)


@pytest.fixture
def reader(database: Settings, server: EmbeddedPostgres, owner: Ask) -> Iterator[Ask]:
    """Somebody who looks: callytics_readonly, which came after the migrations."""
    with closing(psycopg2.connect(server.superuser_conninfo(database.database))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("create role callytics_readonly")
            try:
                owner("call grant_to_callytics_roles()")
                # Made after the privileges were granted.
                owner("select ensure_month_partitions('agent_activity_logs', '2031-03-01', '2031-03-01')")
                cursor.execute("set role callytics_readonly")

                def ask(statement: str) -> Any:
                    cursor.execute(statement)
                    return cursor.fetchone()

                yield ask
            finally:
                cursor.execute("reset role; drop owned by callytics_readonly; drop role callytics_readonly")


@pytest.mark.parametrize("trail", TRAILS)
def test_the_application_adds_to_a_trail_and_takes_nothing_away(owner: Ask, application: Ask, trail: str) -> None:
    """Neither by its name nor by those of its partitions, whoever made them."""
    owner("select keep_partitions_ahead(1)")
    application("select keep_partitions_ahead(2)")
    parts = owner(PARTS, trail)
    assert len(parts) >= 5
    for part in parts:
        assert application(f"select count(*) from {part}") == 0
        for statement in (f"update {part} set created_at = now()", f"delete from {part}", f"truncate {part}"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                application(statement)


def test_the_login_trail_does_not_go_with_an_account(owner: Ask, application: Ask) -> None:
    """What refers to an agent is deleted with it, as the owner of the trail."""
    agent = application(ACCOUNT)
    application("insert into agent_activity_logs (agent_id, activity_type) values (%s, 'login')", agent)
    for statement in (
        "delete from agent_profiles",
        "delete from agent_accounts",
        "truncate agent_accounts cascade",
        "update agent_profiles set id = id + 1000",
    ):
        with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ForeignKeyViolation)):
            application(statement)
    assert owner("select count(*) from agent_activity_logs") == 1


@pytest.mark.parametrize("table", SECRETS)
def test_who_looks_sees_every_column_but_the_secret_ones(reader: Ask, table: str) -> None:
    secret, plain = SECRETS[table]
    reader(f"select count({plain}) from {table}")
    for column in [*secret, "*"]:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            reader(f"select {column} from {table}")


def test_who_looks_reads_every_other_table_whole(reader: Ask, owner: Ask) -> None:
    names = owner(
        "select array_agg(oid::regclass::text) from pg_class where relkind in ('r', 'p', 'v') "
        "and relnamespace in ('public'::regnamespace, 'imports'::regnamespace)"
    )
    hidden = [name for name in names if reader(f"select not has_table_privilege('{name}', 'select')") == (True,)]
    whole = {name: re.sub(r"_(default|\d{4}_\d{2})$", "", name) for name in names}
    assert sorted(hidden) == sorted(name for name in names if whole[name] in SECRETS)


def test_a_month_that_comes_later_has_the_privileges_that_the_migrations_give(reader: Ask, database: Settings) -> None:
    assert grants.check(database) == []


def test_a_trail_and_a_secret_that_were_opened_are_found_and_closed(
    reader: Ask, owner: Ask, database: Settings
) -> None:
    owner("grant update, delete on agent_activity_logs to callytics_user")
    owner("grant select on agent_accounts, imports.unmapped to callytics_readonly")
    found = [(one.level, one.what, one.fix) for one in examine(database).findings if one.check == "trails"]
    fix = "run 'callytics grants'"
    assert found == [
        ("error", "role callytics_user may delete, update agent_activity_logs, which should only grow", fix),
        ("error", "role callytics_readonly may read agent_accounts.password_hash, imports.unmapped.source_row", fix),
    ]
    assert {one.object for one in grants.apply(database)} == {
        "table agent_activity_logs",
        "table agent_accounts",
        "table imports.unmapped",
    }
    assert [one.level for one in examine(database).findings if one.check == "trails"] == ["ok"]
