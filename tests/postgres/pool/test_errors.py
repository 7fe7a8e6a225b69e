"""What a driver says becomes one of ours, in one line without rows, values and secrets."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import adbc_driver_postgresql.dbapi
import psycopg2
import pytest
from psycopg2 import errors

from callytics.exceptions import (
    CallyticsError,
    DatabaseUnavailable,
    DiskFull,
    NotMigrated,
    OutcomeUnknown,
    PrivilegeMissing,
    ReadOnlyServer,
    TooSlow,
)
from callytics.postgres import connect, connected
from callytics.postgres.errors import summary, translated, unreachable
from callytics.settings import Settings

STATEMENTS: dict[str, tuple[str, type[CallyticsError], str]] = {
    "table": ("select * from nowhere", NotMigrated, "relation \"nowhere\" does not exist): run 'callytics migrate'"),
    "column": ("select nothing", NotMigrated, "column \"nothing\" does not exist): run 'callytics migrate'"),
    "schema": ("create table nowhere.t ()", NotMigrated, "schema \"nowhere\" does not exist): run 'callytics migrate'"),
    "function": ("select nothing()", NotMigrated, "function nothing() does not exist): run 'callytics migrate'"),
    "right": (
        "drop table pg_class",
        PrivilegeMissing,
        "role {user} may not do this (must be owner of table pg_class): 'callytics doctor' says",
    ),
    "read only": (
        "set transaction read only; create table t ()",
        ReadOnlyServer,
        "the server takes no writes (cannot execute CREATE TABLE in a read-only transaction): let POSTGRES_HOST name",
    ),
    "statement timeout": ("set statement_timeout = 1; select pg_sleep(5)", TooSlow, "due to statement timeout): try"),
    "gone": (
        "select pg_terminate_backend(pg_backend_pid())",
        DatabaseUnavailable,
        "the connection to PostgreSQL was lost (server closed the connection unexpectedly): try again",
    ),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_what_the_server_is_to_blame_for_becomes_ours(bare_database: Settings, name: str) -> None:
    statement, kind, words = STATEMENTS[name]
    with pytest.raises(kind) as caught, connected(bare_database) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
    assert words.format(user=bare_database.user) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg2.Error)


def raised(code: str) -> str:
    """A statement that makes the server say what can't be arranged in a test."""
    return f"do $$ begin raise exception 'told {code}' using errcode = '{code}', detail = 'somebody''s words'; end $$"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("53100", DatabaseUnavailable, "PostgreSQL has no disk space left: free some, then do it again"),
        ("53000", DatabaseUnavailable, "PostgreSQL lacks resources (told 53000): free some, then do it again"),
        ("53200", DatabaseUnavailable, "PostgreSQL is out of memory (told 53200): free some or, if that is shared"),
        ("53300", DatabaseUnavailable, "PostgreSQL has no connection left (told 53300): raise max_connections, or"),
        ("57P03", DatabaseUnavailable, "the connection to PostgreSQL was lost (told 57P03): do it again"),
        ("08006", DatabaseUnavailable, "the connection to PostgreSQL was lost (told 08006): do it again"),
        ("55P03", TooSlow, "somebody else holds a lock (told 55P03): try again at a quieter time"),
    ],
)
def test_both_drivers_say_the_same(bare_database: Settings, code: str, kind: type[CallyticsError], words: str) -> None:
    with (
        pytest.raises(kind) as by_psycopg2,
        connected(bare_database, then="do it again") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(raised(code))
    assert str(by_psycopg2.value).startswith(words)
    with (
        pytest.raises(kind) as by_adbc,
        adbc_driver_postgresql.dbapi.connect(bare_database.conninfo()) as arrow,
        arrow.cursor() as cursor,
        translated(bare_database, then="do it again"),
    ):
        cursor.execute(raised(code))
    assert "somebody's words" not in f"{by_psycopg2.value}{by_adbc.value}"
    assert "\n" not in str(by_adbc.value)


@pytest.mark.parametrize("words", ["could not write init file", 'could not write to file "x": 장치에 남은 공간이 없음'])
def test_a_full_disk_is_told_at_a_login_too(bare_database: Settings, words: str) -> None:
    """There is no SQLSTATE then."""
    error = unreachable(bare_database, True, psycopg2.OperationalError(f"connection failed: FATAL:  {words}"))
    assert isinstance(error, DiskFull)
    assert str(error) == "PostgreSQL has no disk space left: free some, then try again"
    with (
        pytest.raises(DiskFull, match=r"^PostgreSQL has no disk space left: free some, then do it again$"),
        translated(bare_database, then="do it again"),
    ):
        raise error


def test_a_missing_privilege_names_the_role_and_where_the_owner_is_set(shared_database: Settings) -> None:
    with (
        pytest.raises(PrivilegeMissing) as caught,
        connected(shared_database, owner=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("create role somebody_else")
    assert str(caught.value) == (
        f"role {shared_database.owner_user} may not do this (permission denied to create role): "
        "set POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD to the role that migrates"
    )


@pytest.mark.parametrize("statement", ["select 1 / 0", "selec", "do $$ begin raise unique_violation; end $$"])
def test_what_a_statement_is_to_blame_for_stays_the_drivers(bare_database: Settings, statement: str) -> None:
    with pytest.raises(psycopg2.Error), connected(bare_database) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_errors_of_others_pass(bare_database: Settings) -> None:
    with pytest.raises(KeyError), translated(bare_database):
        raise KeyError("ours")


def test_a_connection_that_is_lost_in_autocommit_leaves_the_outcome_unknown(bare_database: Settings) -> None:
    with closing(connect(bare_database)) as connection:
        connection.autocommit = True
        with (
            pytest.raises(OutcomeUnknown, match=r"server closed .*: look whether it took effect, then try again$"),
            translated(bare_database, connection=connection),
            connection.cursor() as cursor,
        ):
            cursor.execute("select pg_terminate_backend(pg_backend_pid())")


def test_a_summary_is_one_line_without_values(bare_database: Settings) -> None:
    with closing(connect(bare_database)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.DataError) as caught:
            cursor.execute("select %s::integer", ('a "secret" word',))
        assert summary(caught.value) == 'invalid input syntax for type integer: "…"'
        connection.rollback()
        with pytest.raises(errors.UniqueViolation) as violated:
            cursor.execute("create temp table t (a text unique); insert into t values ('secret'), ('secret')")
        assert summary(violated.value) == 'duplicate key value violates unique constraint "t_a_key"'


def test_an_error_at_the_login_has_no_question_inside(bare_database: Settings) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        connect(replace(bare_database, port=1))
    line = str(caught.value)
    assert line.endswith("Connection refused): is PostgreSQL running there, and is POSTGRES_PORT right?")
    assert line.count("?") == 1


def test_a_wrong_password_names_where_it_is_set(shared_database: Settings) -> None:
    with pytest.raises(DatabaseUnavailable, match="correct POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD, or create"):
        connect(replace(shared_database, owner_password="wrong"), owner=True)
    with pytest.raises(DatabaseUnavailable, match="correct POSTGRES_USER and POSTGRES_PASSWORD, or create the role"):
        connect(replace(shared_database, password="wrong"))
