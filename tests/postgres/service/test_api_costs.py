"""What a request may cost: the size of logins, of answers to nonsense, and how long others wait meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from callytics.agents.turns import MOST_WAITING
from callytics.api.guards.limits import LOGIN_BYTES
from tests.support.agents import PASSWORD, WRONG
from tests.support.application import Api, is_problem

JSON = {"Content-Type": "application/json"}


def test_a_login_is_small(api: Api) -> None:
    body = json.dumps({"username": "reader", "password": "x" * LOGIN_BYTES})
    is_problem(api.client.post("/auth/login", content=body, headers=JSON), 413)


def test_a_login_is_counted_before_its_body_is_looked_at(own_api: Api) -> None:
    for _ in range(20):
        is_problem(own_api.client.post("/auth/login", content=b"nonsense", headers=JSON), 422)
    is_problem(own_api.client.post("/auth/login", content=b"x" * (LOGIN_BYTES + 1), headers=JSON), 429)


# Made when it is sent: every process collects these tests, and hardly one runs them.
NONSENSE: dict[str, Callable[[], Any]] = {
    "fields": lambda: {f"k{number}": 0 for number in range(200_000)},
    "fields of a part": lambda: {"audio_file": {f"k{number}": 0 for number in range(200_000)}},
    "elements": lambda: {"audio_file": {}, "segments": [{}] * 90_001},
    "fields in each element": lambda: {"segments": [{f"k{n}": n for n in range(90)}] * 3000},
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_gets_a_short_answer_and_holds_nobody_up(api: Api, nonsense: str) -> None:
    body, headers = json.dumps(NONSENSE[nonsense]()).encode(), JSON | api.log_in("writer")
    with ThreadPoolExecutor(1) as sender:
        answer = sender.submit(api.client.post, "/analyses", content=body, headers=headers)
        longest = 0.0
        while not answer.done():
            started = time.monotonic()
            assert api.client.get("/health/live").status_code == 200
            longest = max(longest, time.monotonic() - started)
    problem = is_problem(answer.result(), 422)
    assert 1 <= len(problem["errors"]) <= 20
    assert len(answer.result().content) < 10_000
    assert longest < 3


def test_errors_that_are_left_out_are_counted(api: Api) -> None:
    body = json.dumps({f"k{number}": 0 for number in range(50)})
    problem = is_problem(api.client.post("/analyses", content=body, headers=JSON | api.log_in("writer")), 422)
    assert len(problem["errors"]) == 20
    # audio_file is missing, too.
    assert problem["detail"] == "see the errors: each names a field; 31 more are left out"


@pytest.mark.parametrize("body", [b"[" + b"[]," * 200_000 + b"[]]", b"[" + b"1," * 600_000 + b"1]"])
def test_a_body_has_so_many_parts(api: Api, body: bytes) -> None:
    is_problem(api.client.post("/analyses", content=body, headers=JSON | api.log_in("writer")), 413)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [(b"", JSON, 422), (b"{", JSON, 422), (b"{}", {"Content-Type": "text/plain"}, 422), (b"[" * 90_000, JSON, 400)],
)
def test_what_is_no_analysis_is_refused(api: Api, content: bytes, headers: dict[str, str], status: int) -> None:
    is_problem(api.client.post("/analyses", content=content, headers=headers | api.log_in("writer")), status)


@contextmanager
def all_turns_taken(api: Api, waiting: int):  # type: ignore[no-untyped-def]
    """Let every thread that checks passwords be busy, and guesses wait."""
    turns, go_on, begun = api.service.auth.turns, threading.Event(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        go_on.wait(20)

    taken: list[Future[None]] = [turns.take(work, 0) for _ in range(api.service.auth.passwords.at_once)]
    for _ in taken:
        assert begun.acquire(timeout=5)
    taken += [turns.take(lambda: None, 50) for _ in range(waiting)]
    try:
        yield go_on
    finally:
        go_on.set()


def test_when_too_many_log_in_they_are_told_to_come_again(own_api: Api) -> None:
    own_api.client.post("/auth/login", json={"username": "reader", "password": WRONG})
    with all_turns_taken(own_api, 0) as go_on, ThreadPoolExecutor(20) as clients:
        better = [own_api.service.auth.turns.take(lambda: None, 0) for _ in range(MOST_WAITING)]
        refused = own_api.client.post("/auth/login", json={"username": "reader", "password": PASSWORD})
        assert is_problem(refused, 429)["detail"] == "too many are logging in at once: try again in a moment"
        assert refused.headers["Retry-After"] == "2"
        go_on.set()
        for future in better:
            future.result(5)
        right = clients.submit(own_api.client.post, "/auth/login", json={"username": "reader", "password": PASSWORD})
        assert right.result().status_code == 200


def test_a_right_login_comes_before_guesses_that_wait(own_api: Api) -> None:
    with all_turns_taken(own_api, MOST_WAITING) as go_on, ThreadPoolExecutor(1) as clients:
        right = clients.submit(own_api.client.post, "/auth/login", json={"username": "reader", "password": PASSWORD})
        time.sleep(0.2)
        go_on.set()
        assert right.result().status_code == 200
