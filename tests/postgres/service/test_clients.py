"""Clients of `callytics serve` who leave before they are answered, and who take their time to say what they want."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from callytics.api.guards.limits import BODY_SECONDS
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.pooling import eventually
from tests.support.servers import execute
from tests.support.serving import RECORDING, Served, served

pytestmark = pytest.mark.slow

WORKING = "select count(*) from pg_stat_activity where usename = 'callytics_user' and state <> 'idle'"
LOGIN = {"username": "nobody", "password": "what only nobody knows"}


@pytest.fixture
def service(own_database: Settings, administrator: str, tmp_path: Path) -> Iterator[Served]:
    with served(own_database, tmp_path / "log") as started:
        yield started


@contextmanager
def locked(server: EmbeddedPostgres, settings: Settings, table: str) -> Iterator[None]:
    with closing(psycopg2.connect(server.superuser_conninfo(settings.database))) as locker:
        with locker.cursor() as cursor:
            cursor.execute(f"lock table {table} in access exclusive mode")
        yield


def asked(
    service: Served, head: str, headers: Mapping[str, str], body: bytes = b"", announced: int = 0
) -> socket.socket:
    """Send a request, whole or in part, and return its connection."""
    place = urlsplit(service.url)
    connection = socket.create_connection((place.hostname, place.port), timeout=60)
    lines = [f"{head} HTTP/1.1", f"Host: {place.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {announced or len(body)}", "Content-Type: application/json"] if body else []
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def status(connection: socket.socket) -> int:
    found = re.match(rb"HTTP/1.1 (\d+) ", connection.recv(1000))
    assert found
    return int(found[1])


@pytest.mark.parametrize(
    ("table", "head", "body", "clients", "busy"),
    [
        # Where it is: in a login, in the look for the session, in a thread's reading, in a transaction that writes.
        ("agent_accounts", "POST /auth/login", json.dumps(LOGIN).encode(), 1, 1),
        ("agent_sessions", "GET /calls", b"", 20, 6),
        ("audio_files", "GET /calls", b"", 20, 6),
        ("audio_files", "POST /analyses", json.dumps(RECORDING).encode(), 20, 6),
    ],
    ids=["login", "session", "reading", "writing"],
)
def test_nobody_works_for_clients_who_have_left(
    service: Served,
    own_database: Settings,
    own_server: EmbeddedPostgres,
    administrator: str,
    table: str,
    head: str,
    body: bytes,
    clients: int,
    busy: int,
) -> None:
    token = service.log_in(administrator)
    with locked(own_server, own_database, table):
        with ExitStack() as connections:
            for _ in range(clients):
                connections.enter_context(asked(service, head, token, body))
            assert eventually(lambda: service.metric("callytics_pool_connections_in_use") == busy)
        began = time.monotonic()
        assert eventually(lambda: execute(own_database, WORKING, owner=False) == [(1,)], 5)
        assert eventually(lambda: service.metric("callytics_pool_connections_in_use") == 0, 5)
        assert time.monotonic() - began < 1.5
        assert service.health()[0] == 200
    assert eventually(lambda: [line["status"] for line in service.lines() if "status" in line].count(499) == clients)
    assert not any("error" in line for line in service.lines())


def test_a_slow_body_is_the_clients_own(service: Served, administrator: str) -> None:
    """It has 30 seconds, and the database is asked nothing before all of it is there."""
    token = service.log_in(administrator)
    login = json.dumps(LOGIN).encode()
    queries = service.metric("callytics_database_queries_total")
    began = time.monotonic()
    with ThreadPoolExecutor(3) as readers:
        unfinished = [asked(service, head, token, b"{", 100) for head in ("POST /analyses", "POST /auth/login")]
        statuses = [readers.submit(status, connection) for connection in unfinished]
        late = asked(service, "POST /auth/login", {}, login[:5], len(login))
        # Longer than an answer may take.
        time.sleep(20)
        assert service.metric("callytics_database_queries_total") == queries
        late.sendall(login[5:])
        assert status(late) == 401
        assert [answer.result() for answer in statuses] == [408, 408]
        assert BODY_SECONDS <= time.monotonic() - began < BODY_SECONDS + 3
    for connection in (*unfinished, late):
        connection.close()


def test_strangers_are_not_waited_for(service: Served) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}):
        began = time.monotonic()
        with asked(service, "POST /analyses", headers, b"{", 100) as connection:
            assert status(connection) == 401
        assert time.monotonic() - began < 2
