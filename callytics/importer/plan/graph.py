"""The plan of a command as data: a graph of steps and the steps that each waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from graphlib import TopologicalSorter
from typing import Any

from callytics.postgres.text import counted


class Rank(IntEnum):
    """The order of steps that are ready at the same time; the lowest rank comes first.

    Notes first, since other steps wait for them and they take no time. Loads come before builds, and builds before
    verification, because the longest chain of waits (load, key, statistics, foreign keys) starts there.
    """

    NOTE = 0
    LOAD = 1
    BUILD = 2
    VERIFY = 3


class Kind(Enum):
    """What a step does, with its rank. ``WorkerPool`` is given a function for each kind that the plan uses."""

    # Enum makes members of equal values one: the words of no two kinds may be the same.
    LOAD = "load", Rank.LOAD
    LOADED = "loaded", Rank.NOTE
    BUILD = "build", Rank.BUILD
    KEY = "key", Rank.BUILD
    SHARE = "share of an index", Rank.BUILD
    INDEX = "index", Rank.BUILD
    ANALYZE = "analyze", Rank.BUILD
    VERIFY = "verify", Rank.VERIFY
    VERIFIED = "verified", Rank.NOTE
    DECLARE = "declare foreign keys", Rank.NOTE
    VALIDATE = "validate foreign keys", Rank.BUILD
    VALIDATED = "validated", Rank.NOTE
    SEARCH_SHARE = "share of a search index", Rank.BUILD
    SEARCH = "search index", Rank.BUILD
    COMPARE = "compare", Rank.VERIFY

    def __init__(self, words: str, rank: Rank) -> None:
        self.words, self.rank = words, rank

    @property
    def notes(self) -> bool:
        """Whether such a step only records or awaits what other steps have done."""
        return self in (Kind.LOADED, Kind.VERIFIED, Kind.VALIDATED)


@dataclass(frozen=True, eq=False)
class Step:
    """A unit of work for one worker, ready when all steps that it waits for are done.

    ``subject`` is passed to the function of its kind. ``size`` is in rows: among steps of the same rank the largest
    comes first, so that no worker starts a long step when the others are finished. Steps are compared by identity:
    two pieces of a table look alike.
    """

    kind: Kind
    table: str
    size: int = 0
    waits: tuple[Step, ...] = ()
    subject: Any = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.kind.words} {self.table}".rstrip()


class Plan:
    """Steps in the order in which they were added, each after all steps that it waits for: no circle is possible.

    ``totals`` holds the rows of progress labels that several steps share: the pieces of a table, or a table that
    several files have.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.totals: Counter[str] = Counter()

    def add(
        self, kind: Kind, table: str = "", *, size: int = 0, waits: Iterable[Step] = (), subject: Any = None
    ) -> Step:
        """Add a step and return it, for others to wait for."""
        step = Step(kind, table, size, tuple(waits), subject)
        self.steps.append(step)
        return step

    def sorter(self) -> TopologicalSorter[Step]:
        """Return a prepared sorter, which hands out steps as soon as they are ready."""
        # A new one each time: a sorter is used up by handing out its steps.
        sorter: TopologicalSorter[Step] = TopologicalSorter()
        for step in self.steps:
            sorter.add(step, *step.waits)
        sorter.prepare()
        return sorter

    def __str__(self) -> str:
        return "\n".join(map(str, self.groups()))

    def groups(self) -> list[Group]:
        """Return the plan for people to read: one group for each kind and table, without steps that only record."""
        found: dict[tuple[Kind, str], list[Step]] = {}
        for step in self.steps:
            if not step.kind.notes:
                found.setdefault((step.kind, step.table), []).append(step)
        return [
            Group(
                step=kind.words,
                table=table,
                steps=len(steps),
                rows=sum(step.size for step in steps),
                waits=list(dict.fromkeys(str(wait) for step in steps for wait in _told(step.waits))),
            )
            for (kind, table), steps in found.items()
        ]


@dataclass(frozen=True)
class Group:
    """The steps of one kind and table: their number, their rows, and the groups they wait for."""

    step: str
    table: str
    steps: int
    rows: int
    waits: list[str]

    def __str__(self) -> str:
        rows = counted(self.rows, "row") if self.rows else ""
        extent = ", ".join(filter(None, (rows, counted(self.steps, "step") if self.steps > 1 else "")))
        waits = f"   after {_together(self.waits)}" if self.waits else ""
        return f"{self.step} {self.table}".rstrip() + (f": {extent}" if extent else "") + waits


def _told(waits: Iterable[Step]) -> Iterator[Step]:
    """Yield the steps that are waited for; a step that only records is replaced by those that it waits for."""
    for wait in waits:
        if wait.kind.notes:
            yield from _told(wait.waits)
        else:
            yield wait


def _together(waits: list[str]) -> str:
    return ", ".join(waits) if len(waits) <= 3 else f"{', '.join(waits[:2])} and {len(waits) - 2} more"


def drawing(plan: Plan) -> str:
    """Return the shape of a plan for the manual: a path a line, where each kind of step waits for the one before it."""
    kinds = list(Kind)
    edges = {(wait.kind, step.kind) for step in plan.steps for wait in step.waits}
    after = {kind: _reached(kind, edges) for kind in kinds}
    # Leave out edges that a longer path implies: they would hide the order.
    shown = [(a, b) for a, b in edges if not any(b in after[c] for one, c in edges if one is a and c is not b)]
    shown.sort(key=lambda edge: (kinds.index(edge[0]), kinds.index(edge[1])))
    return "\n".join(" → ".join(kind.words for kind in path) for path in _paths(shown))


def _paths(edges: list[tuple[Kind, Kind]]) -> Iterator[list[Kind]]:
    """Yield paths that have every edge once, each as long as it gets."""
    left = dict.fromkeys(edges)
    while left:
        path = [next(iter(left))[0]]
        while edge := next((edge for edge in left if edge[0] is path[-1]), None):
            del left[edge]
            path.append(edge[1])
        yield path


def _reached(kind: Kind, edges: set[tuple[Kind, Kind]]) -> set[Kind]:
    found = {b for a, b in edges if a is kind}
    for one in list(found):
        found |= _reached(one, edges)
    return found
