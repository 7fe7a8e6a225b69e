"""Changes as they are told: in an outcome, as clashes, and as ranges of ids."""

from __future__ import annotations

from collections.abc import Sequence

from callytics.importer.outcome import Synced
from callytics.importer.target.comparing.found import Found


def take_found(outcome: Synced, found: Sequence[Found]) -> None:
    """Set the changes and clashes of an outcome to what was found of each table."""
    outcome.clashes = [clash for one in found for clash in one.clashes]
    outcome.clashed = sum(one.clashed for one in found)
    outcome.unsolvable = sum(one.unsolvable for one in found)
    outcome.changes = [
        {
            "source_table": one.pair.record.source_table,
            "target_table": one.pair.record.target_table,
            "rows": one.rows if one.before is None else one.pair.record.source_rows,
            "inserted": one.inserted,
            "updated": one.updated,
            "deleted": one.deleted,
            "rejected": one.rejected,
            "shared": one.shared,
            "handed_over": one.handed_over,
            "clashes": one.clashed,
        }
        for one in found
    ]


def clash_on(found: Sequence[Found], table: str, key: int, parent: str, *, final: bool) -> None:
    """Record a clash: a row that no import brought refers to a row that is to be deleted."""
    one = next(one for one in found if one.pair.record.target_table == parent)
    finding = f"was added in PostgreSQL and refers to a row of {parent} that is to be deleted"
    one.clash(table, key, (), finding, final=final)
