"""The judge of histories finds each kind of anomaly, and none where an order explains everything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.infra.histories import Verdict, judge, read

# A transaction: outcome, when it began and ended, and its steps.
Told = tuple[str, float, float, list[list[Any]]]


def verdict(told: list[Told], lists: dict[int, list[int]]) -> Verdict:
    lines = (
        json.dumps({"client": 1, "outcome": outcome, "began": began, "ended": ended, "steps": steps})
        for outcome, began, ended, steps in told
    )
    return judge(read(lines), lists)


def wrong(told: list[Told], lists: dict[int, list[int]]) -> set[str]:
    found = verdict(told, lists)
    return {kind for kind in ("lost", "doubled", "undone", "diverging", "cycle", "stale") if getattr(found, kind)}


FIRST: Told = ("stored", 0, 1, [["append", 1, 10]])
SECOND: Told = ("stored", 2, 3, [["append", 1, 11], ["read", 1, [10, 11]]])


def test_a_history_that_an_order_explains() -> None:
    reads: Told = ("stored", 4, 5, [["read", 1, [10, 11]], ["read", 2, []]])
    found = verdict([FIRST, SECOND, reads, ("unknown", 5, 6, [["append", 1, 12]])], {1: [10, 11, 12]})
    assert found.sound
    assert (found.stored, found.unknown, found.unknown_there, found.stale) == (3, 1, 1, [])


@pytest.mark.parametrize(
    ("told", "lists", "kinds"),
    [
        ([FIRST, SECOND], {1: [10]}, {"lost"}),
        ([FIRST, SECOND], {}, {"lost", "diverging"}),
        ([("unknown", 0, 1, [["append", 1, 10], ["append", 2, 11]])], {1: [10]}, {"lost"}),
        ([("unknown", 0, 1, [["append", 1, 10]])], {}, set()),
        ([FIRST], {1: [10, 10]}, {"doubled"}),
        ([("refused", 0, 1, [["append", 1, 10]])], {1: [10]}, {"undone"}),
        ([("refused", 0, 1, [["append", 1, 10]])], {}, set()),
        ([FIRST, SECOND, ("stored", 2, 5, [["read", 1, [11]]])], {1: [10, 11]}, {"diverging", "cycle"}),
        ([FIRST, ("stored", 2, 5, [["read", 1, [10, 99]]])], {1: [10]}, {"diverging"}),
        ([FIRST, ("stored", 2, 3, [["read", 1, []]])], {1: [10]}, {"stale"}),
        ([FIRST, ("stored", 0.5, 3, [["read", 1, []]])], {1: [10]}, set()),
    ],
)
def test_each_anomaly_is_found(told: list[Told], lists: dict[int, list[int]], kinds: set[str]) -> None:
    assert wrong(told, lists) == kinds


def test_two_who_have_both_seen_the_state_before_the_other() -> None:
    """Write skew: each reads what the other appends to, without it; only one can have been first."""
    told: list[Told] = [
        ("stored", 0, 9, [["read", 1, []], ["append", 2, 20]]),
        ("stored", 0, 9, [["read", 2, []], ["append", 1, 10]]),
    ]
    found = verdict(told, {1: [10], 2: [20]})
    assert set(found.cycle) == {0, 1}
    assert not found.sound


def test_two_who_append_in_opposite_orders() -> None:
    told: list[Told] = [
        ("stored", 0, 9, [["append", 1, 10], ["append", 2, 20]]),
        ("stored", 0, 9, [["append", 1, 11], ["append", 2, 21]]),
    ]
    assert wrong(told, {1: [10, 11], 2: [21, 20]}) == {"cycle"}
    assert wrong(told, {1: [10, 11], 2: [20, 21]}) == set()
