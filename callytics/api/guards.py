"""Middleware around every answer: security headers for browsers, and a 500 for unexpected errors."""

from __future__ import annotations

import logging

from starlette.datastructures import MutableHeaders
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
