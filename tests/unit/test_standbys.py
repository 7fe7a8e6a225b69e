"""What a standby must have to be read from follows from what the primary has told, and when."""

from __future__ import annotations

import pytest

from callytics.postgres.position import Position
from callytics.postgres.standbys import Told

BOUND = 5.0


def at(place: int, timeline: int = 1, system: int = 7) -> Position:
    return Position(system, timeline, place)


@pytest.mark.parametrize(
    ("standby", "has"),
    [(at(100), True), (at(101), True), (at(99), False), (at(200, timeline=2), False), (at(200, system=8), False)],
)
def test_only_places_of_one_log_are_compared(standby: Position, has: bool) -> None:
    assert standby.has(at(100)) is has


def told(*moments: tuple[float, int]) -> Told:
    found = Told(BOUND)
    for moment, place in moments:
        found.note(moment, at(place))
    return found


def test_needed_is_what_the_primary_had_within_the_bound() -> None:
    """The oldest of that, which asks least of a standby."""
    found = told((0, 10), (1, 11), (2, 12), (6, 16))
    assert found.needed(6.0) == at(11)
    assert found.needed(6.9) == at(12)
    assert found.needed(11.0) == at(16)
    assert found.needed(11.1) is None


def test_the_primary_is_asked_again_before_the_bound_is_over() -> None:
    assert not told().is_recent(0)
    assert told((0, 10)).is_recent(BOUND / 2 - 0.1)
    assert not told((0, 10)).is_recent(BOUND / 2)


def test_of_many_answers_few_are_kept() -> None:
    found = told(*((number / 1000, number) for number in range(100_000)))
    assert len(found._positions) <= 12
    assert found.needed(99.999).place >= 94_999


def test_after_a_failover_only_the_new_timeline_counts() -> None:
    found = told((0, 10), (1, 11))
    found.note(2, at(11, timeline=2))
    assert found.needed(2) == at(11, timeline=2)


def test_a_lag_is_since_the_last_moment_of_which_all_is_there() -> None:
    found = told((0, 10), (1, 11), (2, 12))
    assert [found.lag(at(place), 4) for place in (9, 10, 11, 12, 13)] == [None, 4, 3, 0, 0]
    assert found.lag(at(12, timeline=2), 4) is None
