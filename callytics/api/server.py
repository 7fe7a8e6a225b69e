"""The process that serves the application: it starts with a database or not at all, and ends in good order."""

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

from callytics.api import logs
from callytics.api.app import create_app
from callytics.exceptions import ListenError
from callytics.postgres import connected
from callytics.schema import versions
from callytics.settings import ServiceSettings, Settings

LOGGER = logging.getLogger("callytics.api")
# Time for requests under way when the service is told to end; systemd's own patience is longer.
SHUTDOWN_SECONDS = 20
# What is left then hangs in a database that hangs, and is left behind.
LAST_SECONDS = 5


def run(settings: Settings, service: ServiceSettings, proxies: Sequence[str] = ()) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way finish, for 20 seconds at most.

    ``proxies`` are those whose X-Forwarded-For is believed. Raises DatabaseUnavailable without a database,
    MigrationError where its schema is not what this version needs, and ListenError where the address is taken.
    """
    check_schema(settings)
    app = create_app(settings, service)
    # Here, where losing the database in between is still one line; uvicorn would show a traceback.
    app.state.service.postgres.initialize()
    listener = _listen(service.api_host, service.api_port)
    logs.configure()
    Server(_config(app, proxies)).run(sockets=[listener])


def check_schema(settings: Settings) -> None:
    """Raise MigrationError unless the schema is what this version needs."""
    with connected(settings) as connection:
        connection.set_session(readonly=True, autocommit=True)
        versions.check(connection)


class Server(uvicorn.Server):
    """uvicorn, telling systemd what it does and ending with 0 when it was told to end."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections, then report to be ready."""
        asyncio.get_running_loop().set_exception_handler(logs.task_ended)
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            LOGGER.info("serving", extra={"fields": {"host": host, "port": port}})
        notify("READY=1")

    def handle_exit(self, number: int, frame: FrameType | None) -> None:
        """Begin to end; a second signal ends at once."""
        if not self.should_exit:
            last = threading.Timer(SHUTDOWN_SECONDS + LAST_SECONDS, os._exit, (1,))
            last.daemon = True
            last.start()
        super().handle_exit(number, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Report to be ending, then end."""
        notify("STOPPING=1")
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGTERM and SIGINT; uvicorn's own would raise the signal again once everything is done."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def notify(state: str) -> None:
    """Tell the service manager, where one started this process (sd_notify(3)); nothing happens otherwise."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect(address)
        manager.sendall(state.encode())


def _config(app: FastAPI, proxies: Sequence[str]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        # Its lines hold query strings.
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ws="none",
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        place = f"[{host}]:{port}" if _is_ipv6(host) else f"{host}:{port}"
        reason = error.strerror or "it is no address of this machine"
        raise ListenError(
            f"can't listen on {place}: {reason}: set API_HOST and API_PORT, or --host and --port"
        ) from None


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
