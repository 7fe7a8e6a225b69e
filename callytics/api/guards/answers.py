"""Middleware around every answer: whom it is for, security headers for browsers, a 500 for unexpected errors."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callytics.api import problems

LOGGER = logging.getLogger("callytics.api")
# Answers are JSON, not documents, so nothing may load or frame them; the status page sets its own policy.
# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


PROBED = ("/health", "/health/live", "/metrics")
TWO_LENGTHS = "the request has both Content-Length and Transfer-Encoding: send one of them"
OTHER_HOST = "this service is not known by the name in the request's Host: ask under one of its names (API_NAMES)"
# A proxy that is trusted says by X-Forwarded-Proto that the client came by TLS: it is to go on doing so, for a year.
# https://datatracker.ietf.org/doc/html/rfc6797
TRANSPORT = {"Strict-Transport-Security": "max-age=31536000"}


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers for the answer to a request."""
    return HEADERS | TRANSPORT if scope.get("scheme") == "https" else HEADERS


class SecurityHeaders:
    """Add the security headers that an answer has not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in headers_of(scope).items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_on)


class KnownNames:
    """Refuse requests for other hosts than ``names``, in which case somebody may have pointed a name of theirs at us.

    Without ``names`` every host is taken. Probes and Prometheus ask by address, and learn nothing that depends on it.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 421."""
        if scope["type"] == "http" and not self._is_for_us(scope):
            await problems.response(Request(scope), 421, OTHER_HOST)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_for_us(self, scope: Scope) -> bool:
        if not self.names or scope["path"] in PROBED:
            return True
        host = Headers(scope=scope).get("host", "").lower()
        return re.sub(r"\.?(:\d*)?$", "", host) in self.names


class OneLength:
    """Refuse a request that tells its length in two ways, and close its connection.

    A proxy may believe the one and h11 the other, so that what the proxy takes for a body would be a second request
    that nobody has looked at: https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 400."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if "transfer-encoding" in headers and "content-length" in headers:
            answer = problems.response(Request(scope), 400, TWO_LENGTHS, headers={"Connection": "close"})
            await answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class LastResort:
    """Answer an unexpected error with 500, and log where it happened but not its message, which may quote a call."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. An answer that has already begun is cut off, since its status can't be changed."""
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        except Exception:
            if scope["type"] != "http":
                raise
            request_id = scope.get("state", {}).get("request_id")
            LOGGER.exception("unforeseen error", extra={"fields": {"request_id": request_id}})
            if started:
                raise
            await problems.response(Request(scope), 500, problems.BROKEN)(scope, receive, send)
