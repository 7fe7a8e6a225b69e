"""Entries of the ledger: a class for each kind of row that its queries return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from callytics.postgres.sql import Row, folded
from callytics.postgres.text import text_path

T = TypeVar("T")
# Columns that hold a path as `path_text` writes it.
PATHS = ("path", "snapshot_path")
# What stands where a person's name stood; what is no text is NULL then.
MASK = "erased"
Ids = frozenset[int]


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
class Erased:
    """What was erased of a source table: rows that are as if the file did not have them, and values that are masked.

    Whatever reads a file through the conversion leaves them out, so that verify does not miss them, sync and undo do
    not see them, and another import of the file does not bring them back.

    Ids are those of the target, numbers those of the file's rows; columns are the target's.

    ``parents`` has by column the ids that are gone: a row that refers to one went with it. ``masked`` has by column
    the rows' ids, and ``cleared`` the ids that no row refers to any more.
    """

    ids: Ids = frozenset()
    numbers: Ids = frozenset()
    parents: Mapping[str, Ids] = field(default_factory=dict)
    masked: Mapping[str, Ids] = field(default_factory=dict)
    cleared: Mapping[str, Ids] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.ids or self.numbers or self.parents or self.masked or self.cleared)

    def of_clean(self, rows: pa.Table, key: str, kinds: Mapping[str, str]) -> pa.Table:
        """Return the rows that are left, with what is masked."""
        gone = pc.or_(_among(rows[key], self.ids), _among(rows["source_rowid"], self.numbers))
        for column, ids in self.parents.items():
            gone = pc.or_(gone, _among(rows[column], ids))
        rows = rows.filter(pc.invert(gone))
        for column, ids in self.masked.items():
            rows = _replaced(rows, column, _among(rows[key], ids), mask_of(kinds[column]))
        for column, ids in self.cleared.items():
            rows = _replaced(rows, column, _among(rows[column], ids), None)
        return rows

    def is_gone(self, number: int, values: Mapping[str, Any], key: str) -> bool:
        """Tell the same of a row that goes one by one."""
        is_own = number in self.numbers or values[key] in self.ids
        return is_own or any(values[column] in ids for column, ids in self.parents.items())

    def of_values(self, values: Mapping[str, Any], key: str, kinds: Mapping[str, str]) -> dict[str, Any]:
        """Return the values of a row that is left, with what is masked."""
        left = dict(values)
        for column, ids in self.masked.items():
            if left[key] in ids:
                left[column] = mask_of(kinds[column])
        for column, ids in self.cleared.items():
            if left[column] in ids:
                left[column] = None
        return left


NOTHING = Erased()


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
    # What was erased of it, and is to be as if the file did not have it.
    erased: Erased = NOTHING

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
    erased: int
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


def _among(column: pa.ChunkedArray, ids: Ids) -> pa.ChunkedArray:
    return pc.is_in(column, pa.array(sorted(ids), pa.int64()))


def mask_of(kind: str) -> str | None:
    """Return what a column of a type holds where it is masked."""
    return MASK if kind == "text" else None


def _replaced(rows: pa.Table, column: str, where: pa.ChunkedArray, by: str | None) -> pa.Table:
    place = rows.column_names.index(column)
    values = rows[column]
    return rows.set_column(place, column, pc.if_else(where, pa.scalar(by, values.type), values))
