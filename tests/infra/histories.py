"""Judge a history of transactions that append to lists and read them, in the manner of Elle (https://arxiv.org/abs/2003.10554).

Every value is appended once, so that a list shows in which order its writers came, and each read shows which of them it
has seen: from that follow what was lost, and whether there is an order of all transactions that explains everything.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

Lists = Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class Transaction:
    """What a client did, when, and what it was told: stored, unknown or refused."""

    number: int
    began: float
    ended: float
    outcome: str
    appends: Sequence[tuple[int, int]]
    reads: Sequence[tuple[int, tuple[int, ...]]]


@dataclass
class Verdict:
    """What is wrong with a history, by kind; each a list of examples.

    ``lost`` was acknowledged and is not there, ``doubled`` is there twice, ``undone`` was refused and is there,
    ``diverging`` was read and is not how the list began, ``cycle`` are transactions that no order explains. ``stale``
    reads lack what was acknowledged before they began: they lose nothing, and are told apart.
    """

    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)
    diverging: list[int] = field(default_factory=list)
    cycle: list[int] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    stored: int = 0
    unknown: int = 0
    unknown_there: int = 0
    refused: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong but for reads that were stale."""
        return not (self.lost or self.doubled or self.undone or self.diverging or self.cycle)


def read(lines: Iterable[str]) -> list[Transaction]:
    """Return the transactions of `appending.py`; a read that did not come to its end saw nothing."""
    return [_read(number, json.loads(line)) for number, line in enumerate(lines)]


def _read(number: int, told: dict[str, object]) -> Transaction:
    steps = told["steps"]
    assert isinstance(steps, list)
    own: dict[int, list[int]] = defaultdict(list)
    appends, reads = [], []
    for verb, key, value in steps:
        if verb == "append":
            own[key].append(value)
            appends.append((key, value))
        elif value is not None:
            # What it has appended itself stands at the end of what it reads, and tells nothing of the others.
            reads.append((key, tuple(value[: len(value) - len(own[key])]) if own[key] else tuple(value)))
    return Transaction(
        number, float(str(told["began"])), float(str(told["ended"])), str(told["outcome"]), appends, reads
    )


def judge(history: Sequence[Transaction], lists: Lists) -> Verdict:
    """Compare a history with the lists as they are at its end."""
    verdict = Verdict(
        stored=sum(one.outcome == "stored" for one in history),
        unknown=sum(one.outcome == "unknown" for one in history),
        refused=sum(one.outcome == "refused" for one in history),
    )
    there = {value for values in lists.values() for value in values}
    for values in lists.values():
        verdict.doubled += sorted(
            {value for value in values if values.count(value) > 1} if len({*values}) < len(values) else ()
        )
    for one in history:
        found = [value for _, value in one.appends if value in there]
        missing = [value for _, value in one.appends if value not in there]
        # Half of a transaction is lost as much as all of one.
        verdict.lost += missing if one.outcome == "stored" or found else []
        verdict.undone += found if one.outcome == "refused" else []
        verdict.unknown_there += one.outcome == "unknown" and bool(found)
    committed = [one for one in history if one.outcome == "stored" or {value for _, value in one.appends} & there]
    verdict.diverging = [one.number for one in committed if any(_diverges(lists, *seen) for seen in one.reads)]
    verdict.stale = _stale(committed, lists)
    verdict.cycle = _cycle(committed, lists)
    return verdict


def _diverges(lists: Lists, key: int, seen: Sequence[int]) -> bool:
    return tuple(lists.get(key, ())[: len(seen)]) != tuple(seen)


def _stale(committed: Sequence[Transaction], lists: Lists) -> list[int]:
    """Return who has read a list without what was acknowledged before they began."""
    acknowledged = {value: one.ended for one in committed if one.outcome == "stored" for _, value in one.appends}
    earliest: dict[int, list[float]] = {}
    for key, values in lists.items():
        # Of all that follow a place, the moment at which the first was acknowledged.
        moments = [float("inf")]
        for value in reversed(values):
            moments.append(min(moments[-1], acknowledged.get(value, float("inf"))))
        earliest[key] = moments[::-1]
    return [
        one.number
        for one in committed
        if any(
            len(seen) < len(earliest.get(key, ())) and earliest[key][len(seen)] < one.began for key, seen in one.reads
        )
    ]


def _cycle(committed: Sequence[Transaction], lists: Lists) -> list[int]:
    """Return transactions each of which has to come before the next, and the last before the first; none is well."""
    writer = {value: one.number for one in committed for _, value in one.appends}
    before: dict[int, set[int]] = defaultdict(set)

    def order(first: int | None, then: int | None) -> None:
        if first is not None and then is not None and first != then:
            before[then].add(first)

    for values in lists.values():
        for earlier, later in pairwise(values):
            order(writer.get(earlier), writer.get(later))
    for one in committed:
        for key, seen in one.reads:
            values = lists.get(key, ())
            order(writer.get(seen[-1]) if seen else None, one.number)
            order(one.number, writer.get(values[len(seen)]) if len(seen) < len(values) else None)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        return [*error.args[1]]
    return []
