"""Which calls are read: the one condition that every query of calls takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callytics.exceptions import NotPermitted
from callytics.postgres.sql import Composed, Queries

SQL = Queries(Path(__file__).parent / "finding" / "conditions.sql")


@dataclass(frozen=True)
class Scope:
    """The names of the agents whose calls are seen; None: all calls are."""

    visible: Sequence[str] | None = None

    def condition(self, call: str) -> Composed:
        """Return what a query asks of a recording, whose id is the expression ``call``."""
        return Composed("true") if self.visible is None else SQL.text("visible", call=Composed(call))

    def text(self, queries: Queries, name: str, **parts: Any) -> Composed:
        """Return a query with its ``{visible…}`` filled in: of a parameter, and of columns of the tables."""
        return queries.text(
            name,
            visible=self.condition("%(id)s"),
            visible_a=self.condition("a.id"),
            visible_t=self.of_transcriptions(),
            visible_u=self.of_utterances(),
            **parts,
        )

    def of_transcriptions(self) -> Composed:
        """Return what a query asks of a transcription."""
        return self.condition("t.audio_file_id")

    def of_utterances(self) -> Composed:
        """Return what a query asks of an utterance, which may know its recording by path only."""
        if self.visible is None:
            return Composed("true")
        conditions = {"by_id": self.condition("u.audio_file_id"), "by_path": self.condition("there.id")}
        return SQL.text("visible_utterance", **conditions)

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a query's parameters with those of the condition."""
        return {**given, "visible": None if self.visible is None else list(self.visible)}

    def refuse_all_calls(self) -> None:
        """Raise NotPermitted for whoever does not see all calls, where something is counted over all of them."""
        if self.visible is not None:
            raise NotPermitted("this counts all calls, which takes the scope all: ask an administrator for it")
