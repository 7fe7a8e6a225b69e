"""Turns at checking passwords: few at once, not many waiting, the most trusted first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from callytics.agents import turns
from callytics.agents.turns import Turns
from callytics.exceptions import TooManyLogins


class Busy:
    """Turns whose only thread is at work until it is told to go on."""

    def __init__(self, most: int) -> None:
        self.turns = Turns(1, most)
        self.go_on = threading.Event()
        self.done: list[str] = []
        begun = threading.Event()
        self.first = self.turns.take(lambda: (begun.set(), self.go_on.wait()))
        assert begun.wait(5)

    def take(self, name: str, rank: int) -> Future[None]:
        return self.turns.take(lambda: self.done.append(name), rank)


@pytest.fixture
def busy() -> Iterator[Busy]:
    busy = Busy(most=3)
    yield busy
    busy.go_on.set()


def test_the_most_trusted_come_first_then_who_came_first(busy: Busy) -> None:
    taken = [busy.take("second", 1), busy.take("third", 1), busy.take("first", 0)]
    busy.go_on.set()
    for future in taken:
        future.result(5)
    assert busy.done == ["first", "second", "third"]


def test_one_too_many_displaces_the_last_of_the_worst(busy: Busy) -> None:
    taken = [busy.take("a", 1), busy.take("b", 2), busy.take("c", 2)]
    right = busy.take("right", 0)
    with pytest.raises(TooManyLogins):
        taken.pop().result(5)
    with pytest.raises(TooManyLogins):
        busy.take("worst", 3).result(5)
    busy.go_on.set()
    for future in (right, *taken):
        future.result(5)
    assert busy.done == ["right", "a", "b"]


def test_who_left_takes_no_turn_and_no_place(busy: Busy) -> None:
    gone = [busy.take("gone", 0) for _ in range(3)]
    assert all(future.cancel() for future in gone)
    stays = [busy.take("stays", 1) for _ in range(3)]
    busy.go_on.set()
    for future in stays:
        future.result(5)
    assert busy.done == ["stays"] * 3


def test_an_error_is_the_callers(busy: Busy) -> None:
    def fails() -> None:
        raise KeyError("own")

    failing = busy.turns.take(fails)
    busy.go_on.set()
    with pytest.raises(KeyError, match="own"):
        failing.result(5)
    assert busy.turns.take(lambda: 1).result(5) == 1


def test_who_waits_too_long_is_told_so(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    late = busy.take("late", 3)
    monkeypatch.setattr(turns, "MOST_SECONDS", 0.0)
    busy.turns.take(lambda: None)
    with pytest.raises(TooManyLogins):
        late.result(5)
