"""`callytics serve` beside a PostgreSQL that gives no answer, for longer than any time limit of the service."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import httpx2 as httpx
import psycopg2
import pytest

from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.network import network
from tests.support.servers import frozen
from tests.support.serving import Served, served, wire_to

pytestmark = pytest.mark.slow

LOGIN = {"username": "nobody", "password": "what only nobody knows"}
# Past the time of an answer, 18 s, when what waits for the database is cancelled.
HANGING_SECONDS = 24


def log_in(service: Served) -> tuple[int, float]:
    """Return the status of a login and the seconds it took."""
    began = time.monotonic()
    with httpx.Client(base_url=service.url, timeout=60) as client:
        return client.post("/auth/login", json=LOGIN).status_code, time.monotonic() - began


def answers(service: Served, path: str, seconds: float = HANGING_SECONDS) -> list[float]:
    """Ask for a path again and again for some time, and return how long each answer took."""
    found, deadline = [], time.monotonic() + seconds
    with httpx.Client(base_url=service.url, timeout=60) as client:
        while time.monotonic() < deadline:
            began, before = time.monotonic(), waits_for_processor(service)
            client.get(path)
            took, after = time.monotonic() - began, waits_for_processor(service)
            found.append(took - sum(after[thread] - before.get(thread, 0.0) for thread in after))
            time.sleep(0.05)
    return found


def waits_for_processor(service: Served) -> dict[Path, float]:
    """Return of each of the service's threads, and of this one, how long it was ready to run and others ran instead.

    That is the machine's doing, and no time in which the service waited for a database.
    """
    found = {}
    for thread in (*Path(f"/proc/{service.process.pid}/task").iterdir(), Path("/proc/thread-self")):
        # Threads end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            found[thread] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    return found


@contextmanager
def everybody_is_answered(service: Served, hanging: AbstractContextManager[None]) -> Iterator[None]:
    """Require the promised times while the database hangs; the block says what holds after that, still meanwhile."""
    service.wait_until(200, 5)
    with hanging, ThreadPoolExecutor(8) as askers:
        logins = [askers.submit(log_in, service) for _ in range(4)]
        live = askers.submit(answers, service, "/health/live")
        health = askers.submit(answers, service, "/health")
        # One in a hundred may meet what is not counted, such as a thread that is paused while others want its lock.
        assert statistics.quantiles(live.result(), n=100)[-1] < 0.1
        assert max(live.result()) < 0.5
        assert max(health.result()) < 2
        for login in logins:
            status, seconds = login.result()
            assert status == 503
            assert seconds < 20
        yield


def test_a_server_whose_processes_are_stopped(
    own_database: Settings, own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with served(own_database, tmp_path / "log") as service:
        with everybody_is_answered(service, frozen(own_server)):
            assert service.health()[0] == 503
        service.wait_until(200, 5)
        assert log_in(service)[0] == 401


def test_a_network_that_loses_packets(own_database: Settings, tmp_path: Path) -> None:
    with (
        network("callytics") as inside,
        wire_to(own_database, inside.outside) as (wire, settings),
        served(settings, tmp_path / "log", network=inside) as service,
    ):
        with everybody_is_answered(service, inside.dropping(wire.port)):
            assert service.health()[0] == 503
        # A connection that is being opened right then may first have to fail, after 10 s.
        service.wait_until(200, 15)
        assert log_in(service)[0] == 401
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(25) == 0


@contextmanager
def locked(server: EmbeddedPostgres, settings: Settings) -> Iterator[None]:
    """Hold a lock that every login waits for."""
    with closing(psycopg2.connect(server.superuser_conninfo(settings.database))) as locker:
        with locker.cursor() as cursor:
            cursor.execute("lock table agent_accounts in access exclusive mode")
        yield
        locker.rollback()


def test_a_lock_that_is_held_for_long(own_database: Settings, own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    with served(own_database, tmp_path / "log") as service:
        with everybody_is_answered(service, locked(own_server, own_database)):
            # The server has ended the statements, so that the others have the connections again.
            assert service.health()[0] == 200
            assert service.metric("callytics_pool_connections_in_use") == 0
        assert log_in(service)[0] == 401


def test_sigterm_is_obeyed(own_database: Settings, own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    with served(own_database, tmp_path / "log") as service:
        service.wait_until(200, 5)
        with frozen(own_server), ThreadPoolExecutor(1) as asker:
            login = asker.submit(log_in, service)
            time.sleep(0.5)
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            service.process.wait(30)
            assert time.monotonic() - began < 25
            assert login.result()[0] == 503
