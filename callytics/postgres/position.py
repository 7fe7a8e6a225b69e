"""How far the data of servers go, and which of two primaries succeeded the other."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from callytics.postgres.sql import Queries

SQL = Queries(Path(__file__).with_suffix(".sql"))


class Position(NamedTuple):
    """How far data go: of which system, on which timeline, and up to which byte of the log."""

    system: int
    timeline: int
    place: int

    def is_beside(self, other: Position) -> bool:
        """Tell whether two places are of the same log, and can be compared."""
        return self[:2] == other[:2]

    def has(self, other: Position) -> bool:
        """Tell whether everything up to the other position is there."""
        return self.is_beside(other) and self.place >= other.place

    def was_succeeded_by(self, other: Position) -> bool:
        """Tell whether the other's server was promoted later: each promotion begins a timeline with a higher number."""
        return self.system == other.system and self.timeline < other.timeline
