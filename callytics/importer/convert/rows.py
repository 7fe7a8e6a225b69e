"""Rows that go one by one: what the target holds of them, or why it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callytics.importer.convert.values import raw_bytes, storage_class


@dataclass(frozen=True)
class ConvertedRow:
    """A row that went value by value: target values, and the (source column, normalisation) pairs it took."""

    rowid: int
    values: dict[str, Any]
    normalisations: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RefusedRow:
    """A row that PostgreSQL cannot hold, as SQLite holds it, by source column."""

    rowid: int
    column: str | None
    reason: str
    values: dict[str, Any]

    @property
    def storage_class(self) -> str | None:
        """Return SQLite's storage class of the refused value; None if PostgreSQL refused the row as a whole."""
        return None if self.column is None else storage_class(self.values[self.column])

    @property
    def raw(self) -> bytes | None:
        """Return the refused value's bytes as `imports.rejected` keeps them; None if there is no single value."""
        return None if self.column is None else raw_bytes(self.values[self.column])
