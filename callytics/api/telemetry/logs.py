"""Structured logs: one JSON object per line, without query strings, bodies, tokens or contents of calls."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callytics.agents import asking
from callytics.api.telemetry.meters import Metrics
from callytics.postgres.errors import sqlstate

LOGGER = logging.getLogger("callytics.api")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# The client closed the connection before it was answered; the number is nginx's.
CLIENT_GONE = 499


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; errors with their type and origin, not their message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. ``extra={"fields": {…}}`` adds members to it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1]:
            line |= described(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def described(error: BaseException) -> dict[str, Any]:
    """Return an error's type, SQLSTATE and frames. The message is left out: it may quote a call."""
    frames = traceback.extract_tb(error.__traceback__)
    found: dict[str, Any] = {"error": f"{type(error).__module__}.{type(error).__qualname__}"}
    if code := sqlstate(error):
        found["sqlstate"] = code
    found["traceback"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return found


class Seldom(logging.Filter):
    """Let a warning or error through once a second, and tell with the next how many like it were left out.

    An attacker, or a process without file descriptors, can cause thousands a second. Lines about one request have its
    id, and are all let through.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._last: dict[tuple[str, str], float] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is logged."""
        fields = getattr(record, "fields", {})
        if record.levelno < logging.WARNING or "request_id" in fields:
            return True
        kind, now = (record.name, str(record.msg)), time.monotonic()
        if kind in self._last and now - self._last[kind] < self.seconds:
            self._left_out[kind] += 1
            return False
        self._last[kind] = now
        if left_out := self._left_out.pop(kind, 0):
            record.fields = fields | {"left_out": left_out}
        return True


def configure() -> None:
    """Send every log record of this process to stdout as JSON, including errors that end a thread."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    threading.excepthook = thread_ended


def thread_ended(ended: threading.ExceptHookArgs) -> None:
    """Log an error that ended a thread; Python's default hook would print its message."""
    LOGGER.error("a thread ended", extra={"fields": described(ended.exc_value) if ended.exc_value else {}})


def task_ended(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of a task that was not awaited; the event loop's default would log its message."""
    error = context.get("exception")
    LOGGER.error(context.get("message", "error"), extra={"fields": described(error) if error else {}})


class RequestLog:
    """Give each request an id, time it, count it, and write one line about it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its id is in ``request.state.request_id`` and the answer's X-Request-ID."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        asking.REQUEST_ID.set(request_id)
        status = CLIENT_GONE

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        started = time.perf_counter()
        try:
            with self.metrics.in_progress():
                await self.app(scope, receive, send_on)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # A metric has a time series for each method: a client that invents some must not make thousands.
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", None)
        self.metrics.count(method, route or "(none)", status, seconds)
        agent = scope["state"].get("agent")
        fields = {
            "request_id": scope["state"]["request_id"],
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "agent_id": agent.id if agent else None,
        }
        LOGGER.info("request", extra={"fields": fields})


def _request_id(scope: Scope) -> str:
    """Return the client's id for this request if it is safe to log, otherwise a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
