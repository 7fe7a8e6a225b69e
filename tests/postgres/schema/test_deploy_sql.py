"""The deployment's queries and statements on a real server: what was made is found, and found right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

pytest.importorskip("pyinfra", reason="the deployment's tests need pyinfra: pip install '.[deploy]'")

from psycopg2.extensions import connection as Connection
from pyinfra.api import HiddenValue

from callytics.trial.embedded import EmbeddedPostgres
from deploy.operations.cluster.databases import privilege_changes, statistics_changes
from deploy.operations.cluster.declared_roles import Role, role_changes
from deploy.operations.cluster.psql import read_query
from deploy.operations.cluster.server_settings import is_stale
from tests.support.servers import VOLATILE, private_server

NAME = "deploy_test"
# The last ones hold what SASLprep changes, and what it refuses.
PASSWORDS = ["simple", 'it\'s \\ "$x" %', "한국", "a\u00a0b", "\u2168", "I\u00adX", "a\u0627"]
ROLE = Role(
    NAME,
    connection_limit=5,
    member_of=("pg_monitor",),
    settings={"lock_timeout": "10s", "default_transaction_read_only": "on"},
    password=HiddenValue("simple"),
)


@pytest.fixture
def superuser(server: EmbeddedPostgres) -> Iterator[Connection]:
    """A superuser's connection, and no role of the last test."""
    connection = psycopg2.connect(server.superuser_conninfo())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"drop role if exists {NAME}")
        yield connection
        cursor.execute(f"drop database if exists {NAME}")
        cursor.execute(f"drop role if exists {NAME}")
    connection.close()


def ask(connection: Connection, query: str) -> Any:
    """Return the document of one of the deployment's queries."""
    with connection.cursor() as cursor:
        cursor.execute(read_query(query))
        row = cursor.fetchone()
    assert row is not None
    return row[0]


def make(connection: Connection, role: Role) -> list[str]:
    """Make ``role`` as declared and return the statements that it took."""
    statements = list(role_changes(role, ask(connection, "roles").get(role.name)))
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    return statements


def test_a_role_that_was_made_needs_nothing_more(superuser: Connection) -> None:
    assert make(superuser, ROLE)
    assert make(superuser, ROLE) == []


@pytest.mark.parametrize(
    "drift",
    [
        "superuser",
        "createdb createrole bypassrls replication",
        "nologin",
        "noinherit",
        "connection limit -1",
        "valid until '2020-01-01'",
        "password 'another'",
        "password null",
        "set lock_timeout to 0",
        "set work_mem to '1GB'",
        "in database postgres set work_mem to '1GB'",
        "reset default_transaction_read_only",
    ],
)
def test_drift_is_found_and_put_right(superuser: Connection, drift: str) -> None:
    make(superuser, ROLE)
    with superuser.cursor() as cursor:
        cursor.execute(f"alter role {NAME} {drift}")
    assert make(superuser, ROLE)
    assert make(superuser, ROLE) == []


@pytest.mark.parametrize("change", ["revoke pg_monitor from", "grant pg_read_all_data to", "grant pg_monitor to"])
def test_memberships_are_found_and_put_right(superuser: Connection, change: str) -> None:
    make(superuser, ROLE)
    with superuser.cursor() as cursor:
        cursor.execute(f"{change} {NAME}" + (" with admin option" if change == "grant pg_monitor to" else ""))
    assert make(superuser, ROLE)
    assert make(superuser, ROLE) == []


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_password_enters_by_the_verifier_made_of_it(superuser: Connection, password: str) -> None:
    make(superuser, Role(NAME, password=HiddenValue(password)))
    login = {"host": "127.0.0.1", "port": superuser.info.port, "dbname": "postgres", "user": NAME}
    psycopg2.connect(**login, password=password).close()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(**login, password=f"{password}!")


def test_a_verifier_that_the_server_made_is_recognised(superuser: Connection) -> None:
    with superuser.cursor() as cursor:
        cursor.execute(f"create role {NAME} login password %s", ("a\u00a0b",))
    assert make(superuser, Role(NAME, password=HiddenValue("a\u00a0b"))) == []


def test_verifiers_do_not_leave_the_server(superuser: Connection) -> None:
    make(superuser, ROLE)
    assert "SCRAM-SHA-256" not in str(ask(superuser, "roles"))


def test_database_privileges_are_found_and_put_right(superuser: Connection) -> None:
    make(superuser, ROLE)
    wanted = {NAME: ["connect"]}
    with superuser.cursor() as cursor:
        cursor.execute(f"create database {NAME}")
        cursor.execute(f"grant create on database {NAME} to {NAME} with grant option")
        for statement in privilege_changes(NAME, wanted, ask(superuser, "database")[NAME]["privileges"]):
            cursor.execute(statement)
        found = ask(superuser, "database")[NAME]
        assert list(privilege_changes(NAME, wanted, found["privileges"])) == []
        cursor.execute(f"drop owned by {NAME}")


def test_settings_state(superuser: Connection) -> None:
    state = ask(superuser, "settings")
    assert state["errors"] == state["hba_errors"] == state["pending_restart"] == state["altered"] == []
    assert is_stale(state, {"x": state["loaded"] + 1})
    assert not is_stale(state, {"x": state["loaded"] - 1})


def test_alter_system_is_found(superuser: Connection) -> None:
    with superuser.cursor() as cursor:
        cursor.execute("alter system set work_mem to '1GB'")
        try:
            assert ask(superuser, "settings")["altered"] == ["work_mem"]
        finally:
            cursor.execute("alter system reset all")


def test_what_a_host_answers_by_is_found_in_whatever_language_its_server_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGUAGE", "ko")
    # Debian has the file elsewhere.
    query = read_query("own_settings").replace("^/etc/postgresql/.*/", "^/.*/")
    with (
        private_server(tmp_path, VOLATILE | {"lc_messages": "C.UTF-8", "datestyle": "german"}) as server,
        closing(psycopg2.connect(server.superuser_conninfo())) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        (found,) = cursor.fetchone() or ({},)
    assert found["answers"].items() >= {"datestyle": "german", "lc_messages": "C.UTF-8"}.items()
    assert "C.UTF-8" in found["locales"]
    assert not {"datestyle", "lc_messages"} & found["more"].keys()


def test_public_schema(superuser: Connection) -> None:
    assert ask(superuser, "schema") == {"owner": "pg_database_owner", "public": ["usage"]}


@pytest.mark.parametrize(
    "before",
    [
        "select",
        "create extension pg_stat_statements schema public",
        "create schema statistics; create extension pg_stat_statements schema statistics; "
        "grant all on schema statistics to public",
    ],
    ids=["not there", "in public", "for everybody"],
)
def test_statements_are_counted_in_a_schema_for_our_roles_alone(superuser: Connection, before: str) -> None:
    with superuser.cursor() as cursor:
        cursor.execute(f"create role {NAME}")
        cursor.execute(before)
        try:
            changes = statistics_changes(ask(superuser, "statistics"), [NAME])
            assert changes
            for statement in changes:
                cursor.execute(statement)
            assert statistics_changes(ask(superuser, "statistics"), [NAME]) == []
            assert ask(superuser, "statistics") == {"schema": "statistics", "roles": [NAME]}
        finally:
            cursor.execute("drop extension if exists pg_stat_statements; drop schema if exists statistics")
