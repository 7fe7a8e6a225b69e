"""Connections that say nothing, too little or nonsense: none of them keeps the service from the others."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from callytics.api.guards import connections
from callytics.api.guards.answers import HEADERS
from callytics.api.guards.connections import limited, most_connections
from callytics.api.server import listen
from callytics.api.telemetry.logs import Seldom

MOST = 4
ANSWER = b"HTTP/1.1 200 OK"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, but to /slow never, and to /large more than a socket holds."""
    if scope["path"] == "/slow":
        await asyncio.sleep(60)
    body = b"x" * 20_000_000 if scope["path"] == "/large" else b"ok"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that is impatient."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.4)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.2)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, http=limited(MOST), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(10)
    assert not thread.is_alive()


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.sendall(sent)
    return connection


def ended(connection: socket.socket) -> tuple[bytes, float]:
    """Return what a connection receives until it is closed, and the seconds until then."""
    started, received = time.monotonic(), b""
    with connection:
        while part := receive(connection):
            received += part
    return received, time.monotonic() - started


def receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("sent", [b"", b"GET /\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ", b"\r\n\r\n"])
def test_who_does_not_ask_is_not_waited_for(port: int, sent: bytes) -> None:
    received, seconds = ended(connect(port, sent))
    assert ANSWER not in received
    assert seconds < 1


def trickle(connection: socket.socket) -> None:
    for number in range(100):
        connection.sendall(b"X-%d: 1\r\n" % number)
        time.sleep(0.02)


def test_a_head_that_trickles_is_not_waited_for(port: int) -> None:
    started = time.monotonic()
    with connect(port, b"GET / HTTP/1.1\r\n") as connection, pytest.raises(ConnectionError):
        trickle(connection)
    assert time.monotonic() - started < 1.5


def test_after_an_answer_the_next_request_is_waited_for_as_long(port: int) -> None:
    connection = connect(port, REQUEST)
    assert receive(connection).startswith(ANSWER)
    time.sleep(0.2)
    connection.sendall(REQUEST)
    received, seconds = ended(connection)
    assert ANSWER in received
    assert seconds < 1


def test_requests_that_follow_each_other_at_once_are_all_answered(port: int) -> None:
    received, _ = ended(connect(port, REQUEST * 5))
    assert received.count(ANSWER) == 5


@pytest.mark.parametrize("path", [b"slow", b"large"])
def test_an_answer_that_takes_too_long_ends(port: int, path: bytes) -> None:
    """To be made, or to be read by whoever asked for it."""
    connection = connect(port, b"GET /" + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(2)
    received, seconds = ended(connection)
    assert len(received) < 20_000_000
    assert seconds < 1


def test_one_too_many_ends_the_one_that_waited_longest(port: int) -> None:
    silent = []
    for _ in range(MOST * 3):
        silent.append(connect(port))
        time.sleep(0.005)
    with closing(connect(port, REQUEST)) as asking:
        assert receive(asking).startswith(ANSWER)
    assert ended(silent[0])[1] < 0.1
    for connection in silent:
        connection.close()


def test_what_is_no_http_is_answered_like_every_other_error(port: int) -> None:
    received, _ = ended(connect(port, b"\0 nonsense\r\n\r\n"))
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 400 Bad Request"
    assert {f"{name}: {value}" for name, value in HEADERS.items()} < set(lines)
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "this is no HTTP request",
    }


@pytest.mark.parametrize(("descriptors", "most"), [(256, 44), (16_384, 256), (100, 16), (resource.RLIM_INFINITY, 256)])
def test_descriptors_bound_the_connections(monkeypatch: pytest.MonkeyPatch, descriptors: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert most_connections(20) == most


def record(message: str, level: int = logging.WARNING, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "a", "levelno": level, "msg": message})
    made.fields = fields
    return made


def test_an_error_is_logged_once_a_second_with_how_many_were_left_out() -> None:
    seldom = Seldom(0.2)
    assert [seldom.filter(record("x")) for _ in range(5)] == [True] + [False] * 4
    assert seldom.filter(record("y"))
    assert all(seldom.filter(record("x", logging.INFO)) for _ in range(5))
    assert all(seldom.filter(record("x", request_id="1")) for _ in range(5))
    time.sleep(0.25)
    last = record("x", host="h")
    assert seldom.filter(last)
    assert last.fields == {"host": "h", "left_out": 4}  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_answer_is_sent_at_once_over_a_kept_connection(host: str) -> None:
    with listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
