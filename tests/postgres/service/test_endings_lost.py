"""A server that goes away in the middle of a command."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from callytics.settings import Settings
from tests.support.endings import WITH_DATABASE, Place, error_of, findings, place
from tests.support.servers import Databases

# What a server sends when it is ready for the next statement.
# https://www.postgresql.org/docs/15/protocol-message-formats.html
READY = b"Z\x00\x00\x00\x05"


class Cutting:
    """A way to a port that is cut for good once the server has answered so many statements, of all connections."""

    def __init__(self, port: int, answers: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.target, self.left = port, answers
        self.cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self.cut.is_set():
                near, _ = self.listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with suppress(OSError), near, socket.create_connection(("127.0.0.1", self.target)) as far:
            selector = selectors.DefaultSelector()
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while not self.cut.is_set():
                for key, _ in selector.select(0.05):
                    received = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not received:
                        return
                    if key.fileobj is far:
                        self._count(received)
                    key.data.sendall(received)

    def _count(self, received: bytes) -> None:
        self.left -= received.count(READY)
        if self.left < 0 and not self.cut.is_set():
            self.cut.set()
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            raise OSError


@contextmanager
def cut_after(settings: Settings, answers: int) -> Iterator[tuple[Settings, Cutting]]:
    way = Cutting(settings.port, answers)
    yield replace(settings, port=way.port), way
    way.cut.set()
    with suppress(OSError):
        way.listener.shutdown(socket.SHUT_RDWR)
    way.listener.close()


@pytest.fixture(scope="module")
def there(databases: Databases, template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(databases, template, tmp_path_factory.mktemp("place")) as prepared:
        yield prepared


# Answered statements, the login among them, before the server is gone.
@pytest.mark.parametrize("answers", [1, 3, 6])
@pytest.mark.parametrize("command", WITH_DATABASE)
def test_every_command(command: str, answers: int, there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(there.folder)
    with cut_after(there.settings, answers) as (settings, way):
        line = error_of(there.at(settings).run(command))
        assert way.cut.is_set()
    assert "again" in line or "is PostgreSQL running there" in line


@pytest.mark.parametrize("answers", [1, 2, 3, 5, 8])
def test_the_doctor(answers: int, there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(there.folder)
    with cut_after(there.settings, answers) as (settings, _way):
        found = findings(there.at(settings).run("doctor"))
        assert any("connection" in line for line in found["connection"])
