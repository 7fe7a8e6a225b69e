"""A body that is refused before all of it was sent: its sender reads the answer, instead of a connection reset."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn

from callytics.api import create_app
from callytics.api.guards.connections import limited
from callytics.settings import ServiceSettings, Settings

SETTINGS = Settings(hosts=("nowhere.example",), port=5432, database="callytics", user="u", password="p")
MEGABYTE = 1024 * 1024


@pytest.fixture
def port() -> Iterator[int]:
    """The application without a database, over real connections."""
    app = create_app(SETTINGS, ServiceSettings(jwt_secret_key="k" * 32))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=limited(20), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_whoever_sends_all_of_it_first_reads_why_it_was_refused(port: int, chunked: bool, number: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = (b"x" * 65536 for _ in range(48)) if chunked else b"x" * (3 * MEGABYTE)
    connection.request("POST", "/auth/login", body, {"Content-Type": "application/json"}, encode_chunked=chunked)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (413, "close")
    assert "larger than 8192 bytes" in json.loads(answer.read())["detail"]
    connection.close()


def test_nobody_who_sends_without_end_is_listened_to_for_long(port: int) -> None:
    head = b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"
    began, sent = time.monotonic(), 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)
        with suppress(ConnectionError):
            while sent < 500 * MEGABYTE:
                sent += connection.send(b"x" * 65536)
    assert sent < 40 * MEGABYTE
    assert time.monotonic() - began < 10


def test_who_sends_no_more_is_let_go(port: int) -> None:
    head = b"POST /auth/login HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"
    began, received = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)
        while part := connection.recv(65536):
            received += part
    assert received.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - began < 8


def test_a_request_that_tells_two_lengths_hides_no_second_one(port: int) -> None:
    """RFC 9112, 6.1: whoever answers such a request closes the connection."""
    hidden = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    head = (
        b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(hidden))
    )
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head + hidden)
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                received += part
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"send one of them" in received
    assert b"x-content-type-options: nosniff" in received
