"""Limits of a request: its size, the time it may take to arrive, and how often to try a login."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# An hour of talk with every word assessed is about a megabyte.
BODY_BYTES = 4 * 1024 * 1024
BODY_SECONDS = 30.0


class BodyLimit:
    """Refuse a body that is too large or too slow while it arrives: a Content-Length may be missing or wrong."""

    def __init__(self, app: ASGIApp, most: int = BODY_BYTES, seconds: float = BODY_SECONDS) -> None:
        self.app = app
        self.most = most
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; reading too much of its body raises HTTPException 413, waiting too long 408."""
        if scope["type"] == "http":
            receive = _Body(receive, _content_length(scope), self.most, self.seconds)
        await self.app(scope, receive, send)


class _Body:
    """A request's ``receive`` that counts bytes and watches the clock."""

    def __init__(self, receive: Receive, announced: int, most: int, seconds: float) -> None:
        self.receive = receive
        self.announced = announced
        self.most = most
        self.deadline = time.monotonic() + seconds
        self.received = 0
        self.complete = False

    async def __call__(self) -> Message:
        if self.complete:
            return await self.receive()
        self._check(self.announced)
        message = await self._next()
        self.received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        self._check(self.received)
        return message

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self.deadline - time.monotonic()):
                return await self.receive()
        except TimeoutError:
            raise HTTPException(408, "the body took too long to arrive", {"Connection": "close"}) from None

    def _check(self, size: int) -> None:
        if size > self.most:
            detail = f"the body is larger than {self.most} bytes: send less at once"
            raise HTTPException(413, detail, {"Connection": "close"})


def _content_length(scope: Scope) -> int:
    announced = Headers(scope=scope).get("content-length", "")
    return int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 20 else 0


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class TokenBuckets:
    """Rate limits by key: ``burst`` times at once, then once every ``seconds``.

    Only the ``keys`` seen last are remembered, so that memory stays bounded; a forgotten key starts with a full bucket.
    Not thread-safe: use it from one event loop.
    """

    def __init__(
        self, burst: int, seconds: float, keys: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.burst = burst
        self.seconds = seconds
        self.keys = keys
        self.clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> int:
        """Take a token and return 0, or return the seconds to wait until there is one."""
        now = self.clock()
        bucket = self._buckets.setdefault(key, _Bucket(self.burst, now))
        self._buckets.move_to_end(key)
        # An attacker with many addresses only makes us forget those seen longest ago.
        if len(self._buckets) > self.keys:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.filled_at) / self.seconds)
        bucket.filled_at = now
        if bucket.tokens < 1:
            return math.ceil((1 - bucket.tokens) * self.seconds)
        bucket.tokens -= 1
        return 0


class LoginLimits:
    """How often one address, and one account from any address, may try to log in."""

    def __init__(self) -> None:
        self.by_address = TokenBuckets(burst=20, seconds=3)
        self.by_account = TokenBuckets(burst=10, seconds=10)

    def take(self, address: str, username: str) -> None:
        """Count an attempt; raise HTTPException 429 after too many."""
        wait = self.by_address.take(_network(address)) or self.by_account.take(_folded(username))
        if wait:
            raise HTTPException(429, f"too many logins: try again in {wait} s", {"Retry-After": str(wait)})


def _network(address: str) -> str:
    """Return the key of an address: itself, or its /64 for IPv6, all of which one host can use (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _folded(username: str) -> str:
    return unicodedata.normalize("NFKC", username).casefold()
