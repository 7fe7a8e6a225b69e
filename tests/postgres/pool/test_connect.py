"""Whoever connects gets in with any password, and otherwise reads one line without it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import adbc_driver_postgresql.dbapi
import psycopg2
import pytest
from yoyo import get_backend

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres import connect
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres

LOGIN = "correct POSTGRES_USER and POSTGRES_PASSWORD, or create the role if it is not there yet"
WHO = "SELECT current_user || ' in ' || current_database()"


@pytest.fixture(
    params=[
        "p@ss",
        "a/b",
        "100%",
        "%41",
        "it's",
        'say "hi"',
        "a b",
        " a ",
        "$HOME",
        "#1",
        "back\\slash",
        "비밀번호",
        "e\u0301",
    ]
)
def awkward(request: pytest.FixtureRequest, server: EmbeddedPostgres, bare_database: Settings) -> Iterator[Settings]:
    """The settings of a role whose name and password need quoting everywhere."""
    settings = replace(bare_database, user="상담 user@/%", password=request.param, owner_user=None, owner_password=None)
    server.provide(settings)
    yield settings
    connection = psycopg2.connect(server.superuser_conninfo())
    with connection, connection.cursor() as cursor:
        cursor.execute('DROP ROLE "상담 user@/%"')
    connection.close()


def test_connect_takes_any_password(awkward: Settings) -> None:
    connection = connect(awkward)
    with connection.cursor() as cursor:
        cursor.execute(WHO)
        assert cursor.fetchone() == (f"상담 user@/% in {awkward.database}",)
    connection.close()


def test_adbc_takes_any_password(awkward: Settings) -> None:
    with (
        adbc_driver_postgresql.dbapi.connect(awkward.conninfo()) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(WHO)
        assert cursor.fetchone() == (f"상담 user@/% in {awkward.database}",)


def test_yoyo_takes_any_password(awkward: Settings) -> None:
    backend = get_backend(awkward.yoyo_uri())
    assert backend.execute(WHO).fetchone() == (f"상담 user@/% in {awkward.database}",)
    backend.connection.close()


def test_psql_takes_any_password(awkward: Settings, server: EmbeddedPostgres) -> None:
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "dbname": "PGDATABASE",
        "user": "PGUSER",
        "password": "PGPASSWORD",
    }
    parameters = awkward.parameters()
    environment = {variable: parameters[name] for name, variable in names.items()}
    answer = subprocess.run(
        [server.bin / "psql", "-XAtc", WHO],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert answer.stdout == f"상담 user@/% in {awkward.database}\n"


def test_database_name_needs_no_care(server: EmbeddedPostgres, bare_database: Settings) -> None:
    strange = replace(bare_database, database="my db/100%?'\"")
    server.provide(strange)
    backend = get_backend(strange.yoyo_uri())
    assert backend.execute("SELECT current_database()").fetchone() == ("my db/100%?'\"",)
    backend.connection.close()


def test_unreachable_hosts_are_passed_over(bare_database: Settings) -> None:
    several = replace(bare_database, hosts=("nowhere.invalid", "127.0.0.1"))
    connection = connect(several)
    connection.close()
    backend = get_backend(several.yoyo_uri())
    backend.connection.close()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"password": "Wr0ng-secret"},
            LOGIN,
        ),
        (
            {"user": "nobody_known"},
            LOGIN,
        ),
        ({"database": "no_such"}, "create it, or correct its name"),
        ({"hosts": ("nowhere.invalid",)}, "correct POSTGRES_HOST"),
        ({"hosts": ("/nowhere",)}, "is PostgreSQL running on this machine?"),
        ({"port": unused_port()}, "is PostgreSQL running there, and is POSTGRES_PORT right?"),
        ({"sslmode": "require"}, "turn TLS on in the server, or relax POSTGRES_SSLMODE"),
    ],
)
def test_refusal_is_one_line_with_a_hint_and_no_password(
    bare_database: Settings, changes: dict[str, object], expected: str
) -> None:
    wrong = replace(bare_database, **changes)
    with pytest.raises(DatabaseUnavailable) as caught:
        connect(wrong)
    line = str(caught.value)
    assert line.endswith(expected)
    assert "\n" not in line
    assert wrong.password not in line
    assert re.match(rf"{wrong.user} can't open database {wrong.database} on ", line)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc to look into")
def test_password_shows_in_no_process(bare_database: Settings) -> None:
    connection = connect(bare_database, owner=True)
    shown = b"\n".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()).decode()
    connection.close()
    assert f"callytics_owner {bare_database.database}" in shown
    assert "owner @/%" not in shown
