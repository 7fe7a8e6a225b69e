"""What bounds requests: buckets of tokens, bodies while they arrive, and the time for an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from callytics.api.guards.limits import LOGIN_BYTES, BodyLimit, LoginLimits, Recent, TokenBuckets
from callytics.api.guards.waiting import bounded


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_then_one_token_at_a_time() -> None:
    clock = Clock()
    buckets = TokenBuckets(burst=3, seconds=10, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 10]
    clock.now += 9
    assert buckets.take("a") == 1
    clock.now += 1
    assert [buckets.take("a"), buckets.take("a")] == [0, 10]
    assert buckets.take("b") == 0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_no_pace_gets_more_than_the_burst_and_what_time_gives(pauses: list[float]) -> None:
    clock = Clock()
    buckets = TokenBuckets(burst=5, seconds=10, clock=clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        taken += buckets.take("a") == 0
    assert taken <= 5 + clock.now / 10


def test_a_bucket_that_is_seen_last_is_kept() -> None:
    buckets = TokenBuckets(burst=1, seconds=10, keys=2, clock=Clock())
    for key in ("a", "b", "a", "c"):
        buckets.take(key)
    assert len(buckets) == 2
    assert buckets.take("a") > 0
    assert buckets.take("c") > 0


ONE = ["192.0.2.1"]


@pytest.mark.parametrize(
    ("addresses", "within"),
    [
        (ONE * 30, 21),
        ([f"::ffff:192.0.2.{n % 2}" for n in range(60)], 41),
        ([f"2001:db8::{n:x}" for n in range(30)], 21),
        ([f"192.0.2.{n}" for n in range(120)], 101),
        ([f"2001:db8:0:{n:x}::1" for n in range(120)], 101),
    ],
    ids=["one address", "two of IPv4 as IPv6", "one /64", "one /24", "one /48"],
)
def test_logins_are_limited(addresses: list[str], within: int) -> None:
    limits = LoginLimits()
    for address in addresses[: within - 1]:
        limits.arrive(address)
    with pytest.raises(HTTPException) as refused:
        limits.arrive(addresses[within - 1])
    assert refused.value.status_code == 429
    assert int(refused.value.headers["Retry-After"]) > 0  # type: ignore[index]


def test_guesses_at_an_account_are_limited_where_they_come_from() -> None:
    limits = LoginLimits()
    for number, username in enumerate(["Kim", "kim", "ＫＩＭ", "KIM", "kiM"] * 2):
        limits.take(f"192.0.2.{number}", username)
    with pytest.raises(HTTPException) as refused:
        limits.take("192.0.2.99", "kim")
    assert refused.value.status_code == 429
    limits.take("198.51.100.1", "kim")
    limits.take("192.0.2.1", "lee")


def test_who_gets_in_is_not_counted() -> None:
    limits = LoginLimits()
    for number in range(200):
        limits.arrive("192.0.2.1")
        limits.take("192.0.2.1", f"agent{number}")
        limits.note("192.0.2.1", f"agent{number}", entered=True)


def test_guesses_wait_for_others() -> None:
    limits = LoginLimits()
    assert limits.rank("192.0.2.1", "kim") == 2
    for number in range(20):
        limits.arrive(f"192.0.2.{number % 4}")
    limits.note("192.0.2.1", "kim", entered=False)
    ranks = [limits.rank(address, "lee") for address in ("192.0.2.1", "192.0.2.9", "198.51.100.1")]
    assert ranks == [2 + 5 + 5, 2 + 5, 2]
    assert limits.rank("198.51.100.1", "Kim") == 4


def test_who_has_entered_comes_first_and_has_attempts_of_their_own() -> None:
    limits = LoginLimits()
    limits.note("192.0.2.1", "kim", entered=True)
    assert [limits.rank(address, "KIM") for address in ("192.0.2.1", "192.0.2.77")] == [0, 1]
    for _ in range(10):
        limits.take("192.0.2.77", "kim")
    with pytest.raises(HTTPException):
        limits.take("192.0.2.77", "kim")
    limits.take("192.0.2.1", "kim")


def test_what_is_remembered_is_bounded_in_time_and_number() -> None:
    clock = Clock()
    recent = Recent(10, keys=2, clock=clock)
    for key in "abca":
        recent.note(key)
    assert [key in recent for key in "abc"] == [True, False, True]
    clock.now += 10
    assert "a" not in recent


async def _reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()


def _send_body(
    parts: Iterable[bytes], headers: dict[str, str], *, pause: float = 0.0, seconds: float = 5, path: str = "/analyses"
) -> None:
    """Send a body of parts to an application that reads all of it, 100 bytes being allowed."""

    async def receive_parts() -> Message:
        await asyncio.sleep(pause)
        part = next(left, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    left = iter(parts)
    scope = {"type": "http", "path": path, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    asyncio.run(BodyLimit(_reads_all, most=100, seconds=seconds)(scope, receive_parts, send))


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ([b"x" * 101], {}),
        ([b"x" * 10] * 11, {}),
        ([b"x" * 10] * 11, {"content-length": "5"}),
        ([], {"content-length": "101"}),
        ([b"x" * 101], {"content-length": "no number"}),
    ],
    ids=["at once", "in parts", "more than announced", "announced", "no number announced"],
)
def test_a_body_that_is_too_large_is_refused_while_it_arrives(parts: list[bytes], headers: dict[str, str]) -> None:
    with pytest.raises(HTTPException) as refused:
        _send_body(parts, headers)
    assert refused.value.status_code == 413


def test_a_body_that_fits_is_let_through() -> None:
    _send_body([b"x" * 50, b"x" * 50], {"content-length": "100"})


def test_a_body_may_not_trickle_for_ever() -> None:
    with pytest.raises(HTTPException) as refused:
        _send_body([b"x"] * 50, {}, pause=0.02, seconds=0.1)
    assert refused.value.status_code == 408


def test_work_that_cannot_be_cancelled_is_not_waited_for() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)

    async def ask() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(TimeoutError):
            await bounded(stubborn(), 0.05)
        return loop.time() - started

    assert asyncio.run(ask()) < 0.4


def test_work_keeps_its_result_and_its_error() -> None:
    async def fails() -> Any:
        raise KeyError("own")

    assert asyncio.run(bounded(asyncio.sleep(0, json.dumps(1)))) == "1"
    with pytest.raises(KeyError, match="own"):
        asyncio.run(bounded(fails()))


@pytest.mark.parametrize("path", ["/auth/login", "/auth/anything"])
def test_logins_are_small(path: str) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * (LOGIN_BYTES + 1), "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    with pytest.raises(HTTPException) as refused:
        asyncio.run(BodyLimit(_reads_all)({"type": "http", "path": path, "headers": []}, receive, send))
    assert refused.value.status_code == 413
    asyncio.run(BodyLimit(_reads_all)({"type": "http", "path": "/analyses", "headers": []}, receive, send))


def test_all_bodies_together_are_limited_while_they_are_held() -> None:
    """Two of three find room; when they are done with, so does another."""
    held = asyncio.Event()
    statuses: list[int] = []

    async def reads_and_waits(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Request(scope, receive).body()
        except HTTPException as refused:
            statuses.append(refused.status_code)
            raise
        await held.wait()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 40, "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    async def ask() -> None:
        limit = BodyLimit(reads_and_waits, all_bytes=100)
        scope: Scope = {"type": "http", "path": "/", "headers": []}
        asked = [asyncio.ensure_future(limit(scope, receive, send)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.wait(asked, timeout=0.1)
        held.set()
        await asyncio.gather(*asked, return_exceptions=True)
        assert limit.left == 100
        await limit(scope, receive, send)

    asyncio.run(ask())
    assert statuses == [503]
