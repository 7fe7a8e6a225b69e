"""The process that serves the application: it starts only with a usable database, and shuts down gracefully."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from callytics.api.app import create_app
from callytics.api.guards.connections import BACKLOG, HEADER_BYTES, IDLE_SECONDS, limited, most_connections
from callytics.api.telemetry import logs
from callytics.exceptions import ListenError
from callytics.postgres.connect import connected, refuse_read_only
from callytics.schema import versions
from callytics.settings import ServiceSettings, Settings

LOGGER = logging.getLogger("callytics.api")
# Time for requests in progress at shutdown; TimeoutStopSec of the unit is longer.
SHUTDOWN_SECONDS = 20
# What is left after that waits for a database that hangs, and is abandoned: a second before the 25 that are promised.
LAST_SECONDS = 4


def run(settings: Settings, service: ServiceSettings, proxies: Sequence[str] = ()) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in progress finish for at most 20 seconds.

    ``proxies`` are the addresses whose X-Forwarded-For is trusted. Raises DatabaseUnavailable without a database,
    MigrationError if its schema is not the one this version needs, and ListenError if the address is taken.
    """
    check_schema(settings)
    app = create_app(settings, service)
    # Opened here rather than by the lifespan: there uvicorn would show a traceback for a database just lost.
    app.state.service.postgres.initialize()
    listener = listen(service.api_host, service.api_port)
    logs.configure()
    most = most_connections(settings.max_connections)
    Server(_config(app, proxies, most)).run(sockets=[listener])


def check_schema(settings: Settings) -> None:
    """Raise MigrationError unless the schema is what this version needs, ReadOnlyServer where nothing can be stored."""
    with connected(settings) as connection:
        connection.autocommit = True
        versions.check(connection)
        # Logins and analyses are writes. A server that stops to take them later makes the service unhealthy instead.
        refuse_read_only(connection)


class Server(uvicorn.Server):
    """uvicorn that notifies systemd, and exits with 0 when it is told to stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections, then report readiness."""
        asyncio.get_running_loop().set_exception_handler(logs.task_ended)
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            LOGGER.info("serving", extra={"fields": {"host": host, "port": port}})
        notify("READY=1")

    def handle_exit(self, number: int, frame: FrameType | None) -> None:
        """Begin to shut down; a second signal stops the process at once."""
        if not self.should_exit:
            last = threading.Timer(SHUTDOWN_SECONDS + LAST_SECONDS, os._exit, (1,))
            last.daemon = True
            last.start()
        super().handle_exit(number, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Report the shutdown, then shut down."""
        notify("STOPPING=1")
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Shut down on SIGTERM and SIGINT; uvicorn would raise the signal again at the end, which exits with 143."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def notify(state: str) -> None:
    """Notify the service manager if one started this process, see sd_notify(3); otherwise do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # An abstract socket, see unix(7).
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect(address)
        manager.sendall(state.encode())


def _config(app: FastAPI, proxies: Sequence[str], most: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=limited(most),
        # Its parser and loop of choice would not be the ones that were tested, where others are installed.
        loop="asyncio",
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=IDLE_SECONDS,
        log_config=None,
        # Its lines contain query strings, which may name customers.
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ws="none",
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; raises ListenError where that can't be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Handed down to the connections. asyncio sets it only where the protocol was named when the socket was made;
        # without it the second half of each answer waits 40 ms for the delayed acknowledgement of the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        place = f"[{host}]:{port}" if _is_ipv6(host) else f"{host}:{port}"
        # Python appends to the reason which address it was.
        known = error.errno or 0
        reason = os.strerror(known) if known > 0 else error.strerror or "it is no address of this machine"
        raise ListenError(
            f"can't listen on {place} ({reason}): set API_HOST and API_PORT, or --host and --port"
        ) from None


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
