"""`callytics serve` beside a PostgreSQL that hangs for longer than any time limit of the service."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.servers import frozen
from tests.support.serving import Served, served

pytestmark = pytest.mark.slow

LOGIN = {"username": "nobody", "password": "what only nobody knows"}
# Past the time of an answer, 18 s, when what waits for the database is cancelled.
FROZEN_SECONDS = 24


def log_in(service: Served) -> tuple[int, float]:
    """Return the status of a login and the seconds it took."""
    began = time.monotonic()
    with httpx.Client(base_url=service.url, timeout=60) as client:
        return client.post("/auth/login", json=LOGIN).status_code, time.monotonic() - began


def slowest(service: Served, path: str, seconds: float) -> float:
    """Ask for a path again and again for some time, and return how long the slowest answer took."""
    found, deadline = 0.0, time.monotonic() + seconds
    with httpx.Client(base_url=service.url, timeout=60) as client:
        while time.monotonic() < deadline:
            began = time.monotonic()
            client.get(path)
            found = max(found, time.monotonic() - began)
            time.sleep(0.05)
    return found


def test_everybody_is_answered_in_time_and_it_recovers(
    own_database: Settings, own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with served(own_database, tmp_path / "log") as service:
        service.wait_until(200, 5)
        with frozen(own_server), ThreadPoolExecutor(8) as askers:
            logins = [askers.submit(log_in, service) for _ in range(4)]
            live = askers.submit(slowest, service, "/health/live", FROZEN_SECONDS)
            health = askers.submit(slowest, service, "/health", FROZEN_SECONDS)
            assert live.result() < 1
            assert health.result() < 2
            for login in logins:
                status, seconds = login.result()
                assert status == 503
                assert seconds < 20
        service.wait_until(200, 5)
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
