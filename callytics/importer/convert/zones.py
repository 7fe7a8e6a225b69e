"""The zone of a time that says none: chosen column by column, and told by its form where a column holds two.

SQLite's CURRENT_TIMESTAMP is UTC, and the application's Python wrote the local time of its machine. A table that
declares CURRENT_TIMESTAMP for a column has SQLite's times wherever the application left the column out, and the
application's own otherwise: these have a "T" or a fraction of a second, which CURRENT_TIMESTAMP never writes
(https://sqlite.org/lang_createtable.html#the_default_clause).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any

from callytics.importer.convert.values import Text

# As SQLite writes a time. The same pattern in RE2, where $ is the end of the text, and in SQLite's own words.
BY_SQLITE = r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$"
WRITTEN_BY_SQLITE = re.compile(BY_SQLITE.rstrip("$").encode())
GLOB_BY_SQLITE = "-".join(["[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2]) + " " + ":".join(["[0-9]" * 2] * 3)


class Reading(StrEnum):
    """Where the times of a column are taken to be from; the values are those of `imports.tables.readings`."""

    # The zone of the import: what --timezone says.
    LOCAL = "local"
    UTC = "utc"
    # UTC where a time is as SQLite writes it, the zone of the import otherwise.
    SQLITE = "sqlite"


@dataclass(frozen=True)
class Zones:
    """The zones of a column's times: of those that are as SQLite writes them, and of all others."""

    by_sqlite: tzinfo = UTC
    by_others: tzinfo = UTC

    def of(self, value: Any) -> tzinfo:
        """Return the zone of one value, read with `Text` as the text factory."""
        plain = isinstance(value, Text) and WRITTEN_BY_SQLITE.fullmatch(value)
        return self.by_sqlite if plain else self.by_others


def months_around(days: Iterable[str]) -> list[str]:
    """Return the months that days (`2024-05-01`) may be in, whatever zone they are of: those at an end are in two."""
    found: set[str] = set()
    for day in days:
        with suppress(ValueError):
            date = datetime.strptime(day, "%Y-%m-%d")
            found |= {f"{date + timedelta(days=apart):%Y-%m}" for apart in (-1, 0, 1)}
    return sorted(found)


def zones_of(reading: str, local: tzinfo) -> Zones:
    """Return the zones that a reading means, with the zone of the import."""
    return Zones(
        local if reading == Reading.LOCAL else UTC,
        UTC if reading == Reading.UTC else local,
    )


def reading_of(readings: Mapping[str, str] | None, column: str) -> str:
    """Return the reading of a source column; an import from before columns were told apart read all as local."""
    return (readings or {}).get(column, Reading.LOCAL)
