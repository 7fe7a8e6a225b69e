"""Limits of a request: its size, the time it may take to arrive, and how often to try a login."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callytics.agents.names import folded
from callytics.agents.networks import host, network, site

# An hour of talk with every word assessed is about a megabyte.
BODY_BYTES = 4 * 1024 * 1024
# Of all requests together: what is read waits in memory for its turn.
ALL_BODIES_BYTES = 4 * BODY_BYTES
# Names and passwords are short, and strangers send them.
LOGIN_BYTES, LOGIN_PATHS = 8 * 1024, "/auth/"
BODY_SECONDS = 30.0
# What is read and thrown away of a body that was refused, so that its sender comes to read why.
DRAINED_BYTES, DRAINING_SECONDS = 8 * 1024 * 1024, 3.0
CROWDED = "too much is being sent at once: try again in a moment"


class BodyLimit:
    """Refuse a body that is too large or too slow while it arrives: a Content-Length may be missing or wrong.

    All bodies in memory together have at most ``all_bytes``.
    """

    def __init__(
        self, app: ASGIApp, most: int = BODY_BYTES, seconds: float = BODY_SECONDS, all_bytes: int = ALL_BODIES_BYTES
    ) -> None:
        self.app = app
        self.most = most
        self.seconds = seconds
        self.left = all_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; reading its body raises HTTPException: 413 too much, 408 too slow, 503 no room now."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = min(self.most, LOGIN_BYTES) if scope["path"].startswith(LOGIN_PATHS) else self.most
        body = _Body(receive, _content_length(scope), most, self)
        try:
            await self.app(scope, body, body.lingering(send))
        finally:
            self.left += body.received


class _Body:
    """A request's ``receive`` that counts bytes and watches the clock."""

    def __init__(self, receive: Receive, announced: int, most: int, limit: BodyLimit) -> None:
        self.receive = receive
        self.limit = limit
        self.announced = announced
        self.most = most
        self.deadline = time.monotonic() + limit.seconds
        self.received = 0
        self.complete = False
        self.closing = False

    def lingering(self, send: Send) -> Send:
        """Return a ``send`` that goes on to read before an answer closes the connection.

        One that is closed with data unread is reset, and the client may never see the answer:
        https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Who was too slow has had its time.
                closes = Headers(raw=message["headers"]).get("connection") == "close"
                self.closing = closes and message["status"] != 408
            elif self.closing and not self.complete and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await self._drain()
                message = {"type": "http.response.body"}
            await send(message)

        return send_on

    async def _drain(self) -> None:
        left = DRAINED_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAINING_SECONDS):
                while left > 0 and not self.complete:
                    message = await self.receive()
                    left -= len(message.get("body", b""))
                    self.complete = not message.get("more_body", False)

    async def __call__(self) -> Message:
        if self.complete:
            return await self.receive()
        self._check(self.announced)
        message = await self._next()
        arrived = len(message.get("body", b""))
        self.received += arrived
        self.limit.left -= arrived
        self.complete = not message.get("more_body", False)
        self._check(self.received)
        if self.limit.left < 0:
            raise HTTPException(503, CROWDED, {"Retry-After": "2", "Connection": "close"})
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

    def taken(self, key: str) -> int:
        """Return how many tokens are missing, without taking one."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0
        return max(math.ceil(self.burst - bucket.tokens - (self.clock() - bucket.filled_at) / self.seconds), 0)

    def give(self, key: str) -> None:
        """Give a token back."""
        if key in self._buckets:
            self._buckets[key].tokens += 1


class Recent:
    """Remembers keys for some ``seconds``; only the ``keys`` noted last, so that memory stays bounded."""

    def __init__(self, seconds: float, keys: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.keys = keys
        self.clock = clock
        self._noted: OrderedDict[str, float] = OrderedDict()

    def note(self, key: str) -> None:
        """Remember a key from now on."""
        self._noted[key] = self.clock()
        self._noted.move_to_end(key)
        if len(self._noted) > self.keys:
            self._noted.popitem(last=False)

    def __contains__(self, key: str) -> bool:
        return key in self._noted and self.clock() - self._noted[key] < self.seconds


class LoginLimits:
    """How often one address, one network, and one account from one network may try to log in, and whose turn is first.

    What others try elsewhere takes nothing from an account's owner. Logins that succeed are not counted, so that many
    may enter from one address in the morning.
    """

    def __init__(self) -> None:
        self.by_address = TokenBuckets(burst=20, seconds=3)
        self.by_network = TokenBuckets(burst=100, seconds=1)
        self.by_account = TokenBuckets(burst=10, seconds=10)
        self.failed = Recent(600)
        self.entered = Recent(86_400)

    def arrive(self, address: str) -> None:
        """Count a login before anything of it is read; raise HTTPException 429 after too many."""
        _refuse(self.by_address.take(host(address)) or self.by_network.take(site(address)))

    def take(self, address: str, username: str) -> None:
        """Count an attempt at an account; raise HTTPException 429 after too many."""
        _refuse(self.by_account.take(self._where(address, username)))

    def rank(self, address: str, username: str) -> int:
        """Return how long a login may wait for others, 0 the least.

        Who entered from the same host or network lately comes first, then who has not tried much in vain. Guesses from
        many addresses so wait for right logins, whichever they are.
        """
        account = folded(username)
        if _key(host(address), account) in self.entered:
            return 0
        if _key(network(address), account) in self.entered:
            return 1
        in_vain = self.by_address.taken(host(address)) + self.by_network.taken(site(address)) // 4
        return 2 + in_vain + 2 * (account in self.failed)

    def note(self, address: str, username: str, *, entered: bool) -> None:
        """Remember how a login ended."""
        account = folded(username)
        if not entered:
            self.failed.note(account)
            return
        self.by_account.give(self._where(address, username))
        self.by_address.give(host(address))
        self.by_network.give(site(address))
        self.entered.note(_key(host(address), account))
        self.entered.note(_key(network(address), account))

    def _where(self, address: str, username: str) -> str:
        """Return where attempts are counted: in the network, but on the very host from which the agent entered."""
        known = _key(host(address), folded(username))
        return known if known in self.entered else _key(network(address), folded(username))


def _refuse(wait: int) -> None:
    if wait:
        raise HTTPException(429, f"too many logins: try again in {wait} s", {"Retry-After": str(wait)})


def _key(place: str, account: str) -> str:
    return f"{place} {account}"
