"""The recordings that a scoped reader may see, looked up once, so that each step of a search need not ask again.

A search that asked of each hit whose call it is would cost what the word is frequent among the calls of others. What an
agent may see is few calls of many: then it is better to begin with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from callytics.calls.scope import Scope
from callytics.postgres import PostgreSQLManager
from callytics.postgres.sql import Composed, Queries

SQL = Queries(Path(__file__).with_name("seen.sql"))
CONDITIONS = Queries(Path(__file__).with_name("conditions.sql"))
# An agent has hundreds of calls, a team thousands. Whoever sees more than that sees so much of everything that a page
# is full soon, and their ids would take longer to send than hits to look at.
MOST = 20_000
# Of so few calls all sentences can be read within a page's time, 27 of each at 4 µs.
FEW = 1_000
# Up to this part of the sentences so few have the words that their recordings are asked for one by one; to look up the
# paths of all recordings takes longer.
RARE = 0.004


@dataclass(frozen=True)
class Seen(Scope):
    """A scope whose recordings are known: ``ids``, and of ``silent`` ones utterances are asked for, by id or path.

    All three are arrays as PostgreSQL writes them, since thousands of values are sent faster as one text; without
    paths each utterance is asked for its recording. ``share`` is their part of all recordings.
    """

    calls: int = 0
    share: float = 1.0
    ids: str = field(default="{}", repr=False)
    silent: str = field(default="{}", repr=False)
    silent_paths: str | None = field(default=None, repr=False)

    @property
    def few(self) -> bool:
        """Whether it pays to begin with the recordings rather than with the words."""
        return self.calls <= FEW

    def condition(self, call: str) -> Composed:
        """Return what a query asks of a recording, by which it may find the rows, too."""
        return Composed(f"{call} = any(%(seen)s::bigint[])")

    def of_transcriptions(self) -> Composed:
        """Return what a query asks of a transcription."""
        return CONDITIONS.text("seen_transcription")

    def of_utterances(self) -> Composed:
        """Return what a query asks of an utterance."""
        return CONDITIONS.text("seen_utterance")

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a query's parameters with those of the conditions."""
        own = {"seen": self.ids, "silent": self.silent, "silent_paths": self.silent_paths}
        return super().values(given) | own


def look_up(postgres: PostgreSQLManager, scope: Scope) -> Scope:
    """Return a scope with its recordings where they are not too many, the scope itself otherwise."""
    if scope.visible is None:
        return scope
    [row] = postgres.execute_query(SQL["seen"], scope.values({"most": MOST + 1}))
    if row["calls"] > MOST:
        return scope
    # Before the first ANALYZE nobody knows how many there are.
    share = row["calls"] / max(row["recordings"], row["calls"], 1)
    return Seen(scope.visible, row["calls"], share, row["ids"], row["ids"])


def with_silent(postgres: PostgreSQLManager, seen: Seen, frequency: float) -> Seen:
    """Return a scope with its recordings of which utterances count: of few those without transcriptions, or all."""
    if not seen.few and frequency < RARE:
        return seen
    [row] = postgres.execute_query(SQL["silent" if seen.few else "paths"], {"seen": seen.ids})
    return replace(seen, silent=row["ids"], silent_paths=row["paths"])
