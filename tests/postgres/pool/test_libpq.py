"""POSTGRES_HOST alone says where a connection leads: variables of libpq's change none, whichever driver opens it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import adbc_driver_postgresql.dbapi
import pytest

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres import PostgreSQLManager, connect
from callytics.postgres.session import settle
from callytics.schema.migrate import Backend
from callytics.settings import Settings
from tests.support import commands

ALTERING = {
    "PGHOSTADDR": "127.0.0.2",
    "PGHOST": "127.0.0.2",
    "PGPORT": "1",
    "PGDATABASE": "postgres",
    "PGUSER": "postgres",
    "PGPASSWORD": "wrong",
    "PGOPTIONS": "-c default_transaction_read_only=on -c search_path=pg_catalog",
    "PGSSLMODE": "require",
    "PGSSLROOTCERT": "/nowhere/root.crt",
    "PGSSLCERT": "/nowhere/client.crt",
    "PGSSLKEY": "/nowhere/client.key",
    "PGSSLCRL": "/nowhere/root.crl",
    "PGTARGETSESSIONATTRS": "standby",
    "PGREQUIREPEER": "nobody",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGKRBSRVNAME": "elsewhere",
    "PGCONNECT_TIMEOUT": "abc",
    "PGCLIENTENCODING": "SQL_ASCII",
}
SESSION = (
    "select current_database(), current_user, current_setting('transaction_read_only'), "
    "current_setting('search_path'), current_setting('client_encoding'), host(inet_server_addr())"
)


def of_psycopg2(settings: Settings) -> object:
    with closing(connect(settings)) as connection, connection.cursor() as cursor:
        cursor.execute(SESSION)
        return cursor.fetchone()


def of_the_pool(settings: Settings) -> object:
    with PostgreSQLManager(settings) as manager, manager.connection() as connection, connection.cursor() as cursor:
        cursor.execute(SESSION)
        return cursor.fetchone()


def of_adbc(settings: Settings) -> object:
    with adbc_driver_postgresql.dbapi.connect(settings.conninfo()) as connection, connection.cursor() as cursor:
        settle(cursor)
        cursor.execute(SESSION)
        return cursor.fetchone()


@pytest.mark.parametrize("name", ALTERING)
@pytest.mark.parametrize("session", [of_psycopg2, of_the_pool, of_adbc])
def test_no_variable_changes_a_connection(
    session: object, name: str, shared_database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(session)
    monkeypatch.setenv(name, ALTERING[name])
    assert session(shared_database) == (
        shared_database.database,
        shared_database.user,
        "off",
        "public",
        "UTF8",
        "127.0.0.1",
    )


def test_a_service_that_is_not_there_is_named(shared_database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library can't take the variable away from the program that it is part of; a command does."""
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    with pytest.raises(DatabaseUnavailable, match="unset PGSERVICE, which Callytics has no use for"):
        connect(shared_database)
    assert commands.invoke(shared_database, "migrate", "--check").exit_code == 0


def test_a_service_leads_nowhere_else(
    shared_database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").write_text("[elsewhere]\nhost=127.0.0.2\nhostaddr=127.0.0.2\noptions=-c work_mem=64\n")
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    for session in (of_psycopg2, of_the_pool, of_adbc):
        assert session(shared_database)[0] == shared_database.database  # type: ignore[index]


EVERYTHING = {**ALTERING, "PGTZ": "Asia/Seoul", "PGDATESTYLE": "German", "PGSERVICE": "elsewhere"}


@pytest.mark.parametrize("command", ["migrate", "migrate --check", "grants", "partitions ahead", "agent list"])
def test_commands_are_proof_against_all_of_them(
    command: str, shared_database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in EVERYTHING.items():
        monkeypatch.setenv(name, text)
    result = commands.invoke(shared_database, *command.split())
    assert result.exit_code == 0, result.output


def test_yoyo_is_proof_against_all_of_them(shared_database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**EVERYTHING, **commands.environment(shared_database)}.items():
        monkeypatch.setenv(name, text)
    with Backend() as backend:
        assert backend.execute("show timezone").fetchone() == ("UTC",)
