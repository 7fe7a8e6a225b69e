"""What bounds a request: its size, the time to arrive and to be answered, and how often one may try to log in."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callytics.postgres.jobs import look

# An hour of talk with every word assessed is about a megabyte.
BODY_BYTES = 4 * 1024 * 1024
BODY_SECONDS = 30.0
# Statements end by themselves after 15 seconds; one whose server hangs does not.
ANSWER_SECONDS = 18.0

Result = TypeVar("Result")


async def bounded(work: Coroutine[Any, Any, Result], seconds: float = ANSWER_SECONDS) -> Result:
    """Return what ``work`` returns; after ``seconds`` raise TimeoutError at once, though ending the work may take long.

    asyncio.timeout waits for the work to be cancelled, which a database that hangs can delay without end.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.done():
        return task.result()
    task.add_done_callback(look)
    task.cancel()
    raise TimeoutError


class BodyLimit:
    """Refuse a body that is too large, or comes too slowly, while it arrives, whatever its Content-Length says."""

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
    """A request's ``receive`` that counts."""

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
    """How often each key may do something: ``burst`` times at once, then once every ``seconds``.

    At most ``keys`` are remembered, those seen last; one that is forgotten begins anew. For one event loop.
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
        if len(self._buckets) > self.keys:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.filled_at) / self.seconds)
        bucket.filled_at = now
        if bucket.tokens < 1:
            return math.ceil((1 - bucket.tokens) * self.seconds)
        bucket.tokens -= 1
        return 0


class LoginLimits:
    """How often one address, and one account from anywhere, may try."""

    def __init__(self) -> None:
        self.by_address = TokenBuckets(burst=20, seconds=3)
        self.by_account = TokenBuckets(burst=10, seconds=10)

    def take(self, address: str, username: str) -> None:
        """Count an attempt; raise HTTPException 429 where there were too many."""
        wait = self.by_address.take(_network(address)) or self.by_account.take(_folded(username))
        if wait:
            raise HTTPException(429, f"too many logins: try again in {wait} s", {"Retry-After": str(wait)})


def _network(address: str) -> str:
    """Return what stands for an address: itself, or the /64 that a host of IPv6 has to itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _folded(username: str) -> str:
    return unicodedata.normalize("NFKC", username).casefold()
