"""Entries of the ledger: a class for each kind of row that its queries return."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from callytics.postgres.sql import Row, folded
from callytics.postgres.text import text_path

T = TypeVar("T")
# Columns that hold a path as `path_text` writes it.
PATHS = ("path", "snapshot_path")


@dataclass(frozen=True)
class SourceRecord:
    """A file of an import, as its latest import or sync recorded it; the path is absolute."""

    id: int
    run: int
    path: str
    snapshot_path: str
    sha256: str
    size_bytes: int
    status: str
    timezone: str
    finished_at: datetime | None


@dataclass(frozen=True)
class TableRecord:
    """What goes from one source table to one target; ``mapping`` is None if the target is ``imports.unmapped``.

    ``id_offset`` was added to the table's ids, and ``offsets`` to the named columns of the target: ids and references.
    """

    id: int
    source_table: str
    mapping: str | None
    target_table: str
    unmapped_columns: tuple[str, ...]
    id_offset: int
    offsets: dict[str, int]
    source_rows: int
    loaded_at: datetime | None
    # How the times of each source column were read (`convert.zones.Reading`); None: all as local, in older imports.
    readings: dict[str, str] | None = None

    @property
    def label(self) -> str:
        """The name in progress: the source table, with the target unless that has the same name."""
        same = folded(self.source_table) == self.target_table
        return self.source_table if same else f"{self.source_table} to {self.target_table}"


@dataclass(frozen=True)
class KeptRow:
    """A row that was not loaded: the refused column with its value, and the whole row, encoded.

    ``column`` is None if PostgreSQL refused the row rather than the conversion one of its values. ``shared`` is the id
    of the equal row that the table had already; None for a rejected row.
    """

    column: str | None
    storage_class: str | None
    raw: bytes | None
    row: str
    shared: int | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A committed chunk, by its first and last row number.

    ``pending`` means that its clean rows are committed, and those that are inserted one by one are not yet.
    """

    first: int
    last: int
    pending: bool
    rows: int


@dataclass(frozen=True)
class Definition:
    """A deferred index or key: dropped for the load, and restored by this definition."""

    id: int
    kind: str
    table: str
    name: str
    definition: str


@dataclass(frozen=True)
class TableSummary:
    """What became of a table of a run; the figures of verification are None until it is verified. Times in seconds."""

    id: int
    source_id: int
    path: str
    source_table: str
    target_table: str
    mapping: str | None
    unmapped_columns: list[str] | None
    id_offset: int
    readings: dict[str, str] | None
    source_rows: int
    loaded: int
    rejected: int
    shared: int
    verified_rows: int | None
    different_rows: int | None
    started_at: datetime | None
    loaded_at: datetime | None
    verified_at: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class RejectSummary:
    """Rows of a table that were rejected for one reason, the first five of them as examples.

    ``conflicting`` has for each example the row of the target that has its unique key, ``conflicting_import`` which
    import brought that of the first.
    """

    path: str
    source_table: str
    target_table: str
    source_column: str | None
    reason: str
    rows: int
    example: int
    examples: list[int]
    conflicting: list[int | None]
    conflicting_import: int | None


@dataclass(frozen=True)
class NormalisationSummary:
    """Values of a column that took one normalisation."""

    path: str
    source_table: str
    source_column: str
    normalisation: str
    rows: int
    example_rowid: int


@dataclass(frozen=True)
class OrphanedKey:
    """A foreign key that was left NOT VALID because of rows without a parent.

    ``whole_table`` is the partitioned table if ``table_name`` is one of its partitions, otherwise the table itself.
    """

    table_name: str
    whole_table: str
    name: str
    definition: str
    orphans: int


def entries(kind: type[T], rows: Iterable[Row]) -> list[T]:
    """Return the rows of a query as objects of a class whose fields are named like its columns.

    By name, since columns of the same type could change places unnoticed. Raises ``TypeError`` if a name is missing
    on either side.
    """
    return [kind(**{name: _entry(name, value) for name, value in row.items()}) for row in rows]


def _entry(name: str, value: Any) -> Any:
    return text_path(value) if name in PATHS else value
