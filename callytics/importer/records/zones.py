"""How the times of an import were read, for whoever shows it: by zone, with as few names as say which columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from callytics.importer.records.entries import TableSummary


@dataclass(frozen=True)
class RunZones:
    """How times without an offset were read in a run: its zone, and by each reading the columns, as TABLE.COLUMN.

    ``columns`` is None for an import from before columns were told apart: all its times are of ``timezone``.
    """

    run: int
    timezone: str
    columns: dict[str, list[str]] | None

    @property
    def one_zone(self) -> str | None:
        """The zone of all times, where there is only one; None where there are several."""
        used = set(self.columns or {"local": []})
        if self.timezone == "UTC" or used == {"local"}:
            return self.timezone
        return "UTC" if used == {"utc"} else None

    @property
    def has_times(self) -> bool:
        """Tell whether the files have any column of times, as far as that is on record."""
        return self.columns is None or bool(self.columns)

    @property
    def short(self) -> dict[str, list[str]]:
        """The columns by reading; those of a name that are all read alike are one: ``created_at (3)``."""
        return {reading: shortened(names, self.columns or {}) for reading, names in (self.columns or {}).items()}


def zones_of_run(run: int, timezone: str, tables: Iterable[TableSummary]) -> RunZones:
    """Return how the times of a run were read."""
    mapped = [table for table in tables if table.mapping]
    if any(table.readings is None for table in mapped):
        return RunZones(run, timezone, None)
    # A table that goes to two targets has its columns twice.
    columns: defaultdict[str, set[str]] = defaultdict(set)
    for table in mapped:
        for column, reading in (table.readings or {}).items():
            columns[reading].add(f"{table.source_table}.{column}")
    return RunZones(run, timezone, {reading: sorted(columns[reading]) for reading in sorted(columns)})


def shortened(names: Sequence[str], all_names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return names of TABLE.COLUMN in fewer words: one for the columns of a name that are all among them."""
    together: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        together[name.rpartition(".")[2]].append(name)
    everywhere = [name for named in all_names.values() for name in named]
    found: list[str] = []
    for column, own in together.items():
        same = sum(name.rpartition(".")[2] == column for name in everywhere)
        found += [f"{column} ({len(own)})"] if len(own) == same > 1 else own
    return found
