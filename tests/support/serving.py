"""`callytics serve` as a process, a database of its own to mistreat, and a wire to it that can go dead."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx

from callytics.settings import Settings
from tests.support.agents import PASSWORD
from tests.support.commands import environment
from tests.support.network import Network

SECONDS = 20.0
# The least that `POST /analyses` takes.
RECORDING: dict[str, Any] = {
    "audio_file": {
        "file_path": "/srv/calls/0001.wav",
        "file_name": "0001.wav",
        "file_size": 1920044,
        "duration_seconds": 60.0,
        "sample_rate": 16000,
        "channels": 1,
        "format_type": "wav",
    }
}
KEY = "a key for tests that is as long as it has to be"


def service_environment(settings: Settings) -> dict[str, str]:
    """Return the environment in which the command meets this database."""
    return (
        os.environ
        | environment(settings, owner=False)
        | {
            "POSTGRES_MIN_CONNECTIONS": "2",
            "POSTGRES_MAX_CONNECTIONS": "6",
            "JWT_SECRET_KEY": KEY,
            "PYTHONUNBUFFERED": "1",
        }
    )


class Served:
    """A process of `callytics serve`, on a port of its own."""

    def __init__(
        self, settings: Settings, log: Path, *options: str, network: Network | None = None, **variables: str
    ) -> None:
        self.log = log
        host = network.inside if network else "127.0.0.1"
        command = [sys.executable, "-m", "callytics.cli", "serve", "--host", host, "--port", "0", *options]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*(network.command if network else ()), *command],
                env=service_environment(settings) | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
            )
        self.url = f"http://{host}:{self._port()}"
        self.client = httpx.Client(base_url=self.url, timeout=SECONDS)

    def _port(self) -> int:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found = re.search(r'"message": "serving", .*"port": (\d+)', self.log.read_text())
            if found:
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError(f"callytics serve did not start: {self.log.read_text()}")

    def log_in(self, username: str) -> dict[str, str]:
        """Return the headers of an agent who is logged in."""
        answer = self.client.post("/auth/login", json={"username": username, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def metric(self, name: str) -> float:
        """Return one of the service's own figures, which costs no query."""
        found = re.search(rf"^{name} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def health(self) -> tuple[int, float]:
        """Return the status of /health and the seconds it took."""
        started = time.monotonic()
        status = self.client.get("/health").status_code
        return status, time.monotonic() - started

    def wait_until(self, status: int, seconds: float = SECONDS) -> float:
        """Return how long it took /health to answer with a status."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            if self.health()[0] == status:
                return time.monotonic() - started
            time.sleep(0.05)
        raise TimeoutError(f"/health was not {status} within {seconds} s")

    def lines(self) -> list[dict[str, Any]]:
        """Return the log, each line of which must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def requests(self, number: int) -> list[dict[str, Any]]:
        """Return the log's lines of requests, once there are so many: a line follows its answer."""
        deadline = time.monotonic() + SECONDS
        while len(found := [line for line in self.lines() if line["message"] == "request"]) < number:
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found

    def end(self) -> None:
        """Kill the process, where it still runs."""
        self.client.close()
        self.process.kill()
        self.process.wait(SECONDS)


@contextmanager
def served(
    settings: Settings, log: Path, *options: str, network: Network | None = None, **variables: str
) -> Iterator[Served]:
    """Lend a service that runs, in a network of its own if there is one."""
    service = Served(settings, log, *options, network=network, **variables)
    try:
        yield service
    finally:
        service.end()


class Wire:
    """A way to a port of this machine that can go dead: what is sent arrives nowhere, without an error."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0))
        self._target = port
        self._alive = threading.Event()
        self._alive.set()
        self._ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """The port of its near end."""
        return int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """Let nothing through."""
        self._alive.clear()

    def mend(self) -> None:
        """Let everything through, what was held up first."""
        self._alive.set()

    def end(self) -> None:
        """Close it."""
        self._ended = True
        self._alive.set()
        self._listener.close()

    def settings(self, settings: Settings) -> Settings:
        """Return the settings by which a database is reached through it."""
        return replace(settings, port=self.port)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._pump, args=(near,), daemon=True).start()

    def _pump(self, near: socket.socket) -> None:
        self._alive.wait()
        with contextlib.suppress(OSError), near, socket.create_connection(("127.0.0.1", self._target)) as far:
            selector = selectors.DefaultSelector()
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while not self._ended:
                for key, _ in selector.select(0.5):
                    received = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    self._alive.wait()
                    if not received:
                        return
                    key.data.sendall(received)


@contextmanager
def wire_to(settings: Settings, host: str = "127.0.0.1") -> Iterator[tuple[Wire, Settings]]:
    """Lend a wire to a database, and the settings by which it is taken at an address of this machine."""
    wire = Wire(settings.port, host)
    try:
        yield wire, replace(wire.settings(settings), hosts=(host,))
    finally:
        wire.end()


def refused(
    settings: Settings, folder: Path, *options: str, **variables: str | None
) -> subprocess.CompletedProcess[str]:
    """Run `callytics serve` where it must not start, and return how it ended."""
    changed: Mapping[str, str | None] = service_environment(settings) | variables
    return subprocess.run(
        [sys.executable, "-m", "callytics.cli", "serve", "--port", "0", *options],
        env={name: value for name, value in changed.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=folder,
    )
