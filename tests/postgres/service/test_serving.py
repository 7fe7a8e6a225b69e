"""`callytics serve`: it starts with a database or not at all, survives losing it, and ends in good order."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psycopg2
import pytest

from callytics.api import server as servers
from callytics.exceptions import DatabaseUnavailable
from callytics.settings import ServiceSettings, Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.faults import kill_server
from tests.support.network import free_port
from tests.support.servers import start_again
from tests.support.serving import (
    KEY,
    Served,
    refused,
    served,
    service_environment,
    wire_to,
)

pytestmark = pytest.mark.slow

PROMISED_SECONDS = 2.0
LOGIN = {"username": "nobody", "password": "what only nobody knows"}


@pytest.fixture
def service(own_database: Settings, tmp_path: Path) -> Iterator[Served]:
    """A service on the module's database."""
    with served(own_database, tmp_path / "log") as started:
        yield started


def is_one_line(completed: subprocess.CompletedProcess[str], *, saying: str) -> None:
    assert completed.returncode == 1
    assert completed.stdout == ""
    assert re.fullmatch(rf"Error: [^\n]*{saying}[^\n]*\n", completed.stderr), completed.stderr


def test_without_a_database_it_does_not_start(own_database: Settings, tmp_path: Path) -> None:
    is_one_line(refused(replace(own_database, port=free_port()), tmp_path), saying="is PostgreSQL running there")


@pytest.mark.quick
def test_without_its_schema_it_does_not_start(empty_database: Settings, tmp_path: Path) -> None:
    is_one_line(refused(empty_database, tmp_path), saying=r"0001\.tables first: run 'callytics migrate'")


@pytest.mark.parametrize("key", [None, "short"])
def test_without_a_key_it_does_not_start(own_database: Settings, tmp_path: Path, key: str | None) -> None:
    is_one_line(refused(own_database, tmp_path, JWT_SECRET_KEY=key), saying="JWT_SECRET_KEY")


def test_on_an_address_that_is_taken_it_does_not_start(own_database: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        is_one_line(
            refused(own_database, tmp_path, "--port", port), saying=rf"127.0.0.1:{port} \(Address already in use\)"
        )
    is_one_line(refused(own_database, tmp_path, "--host", "192.0.2.1"), saying=r"can.t listen on 192.0.2.1:0 \(")


def test_a_database_lost_between_check_and_start_is_one_line_too(
    own_database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "check_schema", lambda settings: None)
    with pytest.raises(DatabaseUnavailable, match="is PostgreSQL running there"):
        servers.run(replace(own_database, port=free_port()), ServiceSettings(jwt_secret_key=KEY, api_port=0))


def test_health_tells_how_the_database_is(service: Served) -> None:
    health = service.client.get("/health").json()
    assert (health["status"], health["pool"]["size"]) == ("healthy", 2)
    assert re.fullmatch(r"\d+\.\d+", health["database_version"])
    assert re.fullmatch(r"\d{4}\.[\w-]+", health["schema_version"])
    assert 0 < health["latency_ms"] < 1000


def test_a_killed_database_is_noticed_at_once_and_its_return_too(service: Served, running: EmbeddedPostgres) -> None:
    assert service.health()[0] == 200
    kill_server(running)
    for _ in range(5):
        status, seconds = service.health()
        assert status == 503
        assert seconds < PROMISED_SECONDS
    refusal = service.client.post("/auth/login", json=LOGIN)
    assert (refusal.status_code, refusal.json()["status"]) == (503, 503)
    start_again(running)
    service.wait_until(200, 5)
    assert service.client.post("/auth/login", json=LOGIN).status_code == 401
    assert service.process.poll() is None


def test_a_database_that_hangs_is_noticed_at_once_and_its_recovery_too(own_database: Settings, tmp_path: Path) -> None:
    with wire_to(own_database) as (wire, settings), served(settings, tmp_path / "log") as service:
        assert service.health()[0] == 200
        wire.cut()
        with ThreadPoolExecutor(10) as askers:
            for status, seconds in askers.map(lambda _: service.health(), range(20)):
                assert status == 503
                assert seconds < PROMISED_SECONDS
        assert service.client.get("/health/live").status_code == 200
        assert service.client.get("/status").json()["service"]["reason"] == "the database does not answer"
        wire.mend()
        service.wait_until(200, 5)


def test_sigterm_lets_requests_under_way_finish(
    service: Served, own_database: Settings, own_server: EmbeddedPostgres
) -> None:
    locker = psycopg2.connect(own_server.superuser_conninfo(own_database.database))
    with locker.cursor() as cursor, ThreadPoolExecutor(1) as asker:
        cursor.execute("lock table agent_accounts in access exclusive mode")
        answer = asker.submit(service.client.post, "/auth/login", json=LOGIN)
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and usename = 'callytics_user'"
        while ask(locker, waiting) != 1:
            time.sleep(0.02)
        service.process.send_signal(signal.SIGTERM)
        while listens(service):
            time.sleep(0.02)
        locker.rollback()
        assert answer.result().status_code == 401
    assert service.process.wait(20) == 0
    gone = "select count(*) from pg_stat_activity where usename = 'callytics_user'"
    deadline = time.monotonic() + 20
    while ask(locker, gone):
        assert time.monotonic() < deadline, "connections are left"
        time.sleep(0.02)
    locker.close()
    assert service.lines()[-1]["message"].startswith("Finished server process")


def listens(service: Served) -> bool:
    try:
        return httpx.get(f"{service.url}/health/live").status_code == 200
    # A connection that was accepted and is not answered any more is refused, too.
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        return False


def ask(connection: psycopg2.extensions.connection, query: str) -> Any:
    with connection.cursor() as cursor:
        # Within a transaction the view would not change.
        cursor.execute("select pg_stat_clear_snapshot()")
        cursor.execute(query)
        (answer,) = cursor.fetchone() or (None,)
    return answer


def log_in_in_vain(client: httpx.Client) -> None:
    with suppress(httpx.HTTPError):
        client.post("/auth/login", json=LOGIN)


IMPATIENT = """
from callytics.api import server
from callytics.settings import ServiceSettings, Settings
server.SHUTDOWN_SECONDS, server.LAST_SECONDS = 1, 1
server.run(Settings.load(env_file=None), ServiceSettings.load(env_file=None))
"""


def test_sigterm_ends_it_within_a_bound_even_when_the_database_hangs(own_database: Settings, tmp_path: Path) -> None:
    port = free_port()
    with wire_to(own_database) as (wire, settings):
        variables = service_environment(settings) | {"API_PORT": str(port)}
        process = subprocess.Popen([sys.executable, "-c", IMPATIENT], env=variables, stdout=subprocess.PIPE)
        with process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            assert process.stdout is not None
            while b'"serving"' not in process.stdout.readline():
                assert process.poll() is None
            wire.cut()
            threading.Thread(target=log_in_in_vain, args=(client,)).start()
            time.sleep(0.5)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            assert time.monotonic() - started < 5


def test_the_service_manager_is_told(own_database: Settings, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        with served(own_database, tmp_path / "log", NOTIFY_SOCKET=str(tmp_path / "notify")) as service:
            assert manager.recv(100) == b"READY=1"
            assert service.health()[0] == 200
            service.process.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert service.process.wait(5) == 0


def test_the_log_holds_neither_passwords_nor_query_strings(service: Served) -> None:
    service.client.get("/status?search=what-a-customer-said")
    service.client.post("/auth/login", json=LOGIN, headers={"Authorization": "Bearer token-of-somebody"})
    service.client.get("/auth/me", headers={"Authorization": "Bearer token-of-somebody"})
    logged = service.requests(3)
    text = service.log.read_text()
    for secret in ("what-a-customer-said", "token-of-somebody", LOGIN["password"], KEY):
        assert secret not in text
    assert [line["route"] for line in logged] == ["/status", "/auth/login", "/auth/me"]


@pytest.mark.parametrize(("options", "believed"), [([], False), (["--proxy", "127.0.0.1"], True)])
def test_only_a_proxy_that_is_named_is_believed(
    own_server: EmbeddedPostgres, own_database: Settings, tmp_path: Path, options: list[str], believed: bool
) -> None:
    with served(own_database, tmp_path / "log", *options) as service:
        service.client.post("/auth/login", json=LOGIN, headers={"X-Forwarded-For": "192.0.2.7"})
    with closing(psycopg2.connect(own_server.superuser_conninfo(own_database.database))) as connection:
        seen = ask(connection, "select ip_address from agent_activity_logs order by id desc limit 1")
    assert seen == ("192.0.2.7" if believed else "127.0.0.1")
