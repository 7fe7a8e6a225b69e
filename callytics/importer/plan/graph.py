"""The plan of a command as data: steps, and which of them waits for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from graphlib import TopologicalSorter
from typing import Any


class Rank(IntEnum):
    """Which of the steps that could be done is done first."""

    NOTE = 0
    LOAD = 1
    BUILD = 2
    VERIFY = 3


class Kind(Enum):
    """What a step does, with its rank; whoever runs the plan has a method for each kind."""

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
        """Whether such a step only writes down, or waits for, what others have done."""
        return self in (Kind.LOADED, Kind.VERIFIED, Kind.VALIDATED)


@dataclass(frozen=True, eq=False)
class Step:
    """Something that one worker does at a time, once all that it waits for is done.

    `subject` is what the method of its kind is given; `size` is in rows: of the same rank the largest comes first, so
    that the workers end together.
    """

    kind: Kind
    table: str
    size: int = 0
    waits: tuple[Step, ...] = ()
    subject: Any = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.kind.words} {self.table}".rstrip()


class Plan:
    """Steps in the order in which they were added, each after all that it waits for."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.totals: Counter[str] = Counter()
        """Rows by what progress calls it, where several steps have it in common: a table's pieces, or a table of
        several files."""

    def add(
        self, kind: Kind, table: str = "", *, size: int = 0, waits: Iterable[Step] = (), subject: Any = None
    ) -> Step:
        """Add a step and return it, for others to wait for."""
        step = Step(kind, table, size, tuple(waits), subject)
        self.steps.append(step)
        return step

    def sorter(self) -> TopologicalSorter[Step]:
        """Return what hands out the steps that can be done, prepared."""
        sorter: TopologicalSorter[Step] = TopologicalSorter()
        for step in self.steps:
            sorter.add(step, *step.waits)
        sorter.prepare()
        return sorter

    def __str__(self) -> str:
        return "\n".join(map(str, self.groups()))

    def groups(self) -> list[Group]:
        """Return the steps of a kind and table together, without those that only note, for people to read."""
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
    """The steps of a kind and table: how many, the rows they are for, and which others they wait for."""

    step: str
    table: str
    steps: int
    rows: int
    waits: list[str]

    def __str__(self) -> str:
        rows = f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}" if self.rows else ""
        extent = ", ".join(filter(None, (rows, f"{self.steps} steps" if self.steps > 1 else "")))
        waits = f"   after {_together(self.waits)}" if self.waits else ""
        return f"{self.step} {self.table}".rstrip() + (f": {extent}" if extent else "") + waits


def _told(waits: Iterable[Step]) -> Iterator[Step]:
    """Yield what is waited for, with what a step that only notes waits for in its place."""
    for wait in waits:
        if wait.kind.notes:
            yield from _told(wait.waits)
        else:
            yield wait


def _together(waits: list[str]) -> str:
    return ", ".join(waits) if len(waits) <= 3 else f"{', '.join(waits[:2])} and {len(waits) - 2} more"


def drawing(plan: Plan) -> str:
    """Return the plan's shape as a Mermaid flowchart: its kinds of steps and which waits for which, without tables."""
    kinds = list(Kind)
    edges = {(wait.kind, step.kind) for step in plan.steps for wait in step.waits}
    after = {kind: _reached(kind, edges) for kind in kinds}
    # An edge that another way implies would only hide the order.
    shown = [(a, b) for a, b in edges if not any(b in after[c] for one, c in edges if one is a and c is not b)]
    shown.sort(key=lambda edge: (kinds.index(edge[0]), kinds.index(edge[1])))
    lines = [f"    {a.name.lower()}[{a.words}] --> {b.name.lower()}[{b.words}]" for a, b in shown]
    return "\n".join(["flowchart LR", *lines])


def _reached(kind: Kind, edges: set[tuple[Kind, Kind]]) -> set[Kind]:
    found = {b for a, b in edges if a is kind}
    for one in list(found):
        found |= _reached(one, edges)
    return found
