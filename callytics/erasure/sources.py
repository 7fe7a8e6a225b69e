"""Rows of imported files that found no place in the schema, and that are a person's by what they refer to.

Rejected and unmapped rows are kept as the file has them. What they refer to is told by the same mappings by which the
rows beside them were loaded, and by the recording's path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from psycopg2.extensions import connection as Connection

from callytics.importer.source.mapping import Mapping as SourceMapping
from callytics.importer.source.mapping import mappings
from callytics.postgres.sql import Queries
from callytics.schema.belongings import Belonging, belongings

SQL = Queries(Path(__file__).with_name("erasure.sql"))


@dataclass(frozen=True)
class SourceTable:
    """A row of ``imports.tables``: a table of a file, and where its rows went."""

    id: int
    source_id: int
    run_id: int
    source_table: str
    mapping: str | None
    target_table: str
    offsets: Mapping[str, int]
    has_rejected: bool
    has_unmapped: bool

    @property
    def key_offset(self) -> int:
        """What was added to its ids."""
        declared = belongings().get(self.target_table)
        return self.offsets.get(declared.key, 0) if declared and declared.key else 0


class SourceTables:
    """The tables of all files that were imported and not undone."""

    def __init__(self, tables: Sequence[SourceTable]) -> None:
        self.tables = tables

    @classmethod
    def read(cls, connection: Connection) -> Self:
        """Read them from the records of imports."""
        return cls([SourceTable(**row) for row in SQL.all(connection, "source_tables")])

    def find_rejected(self, connection: Connection, one: Belonging, parents: Mapping[str, str]) -> None:
        """Find rejected rows that would have gone to a table; ``parents`` are its columns that lead to what goes."""
        for table in self.tables:
            if table.target_table != one.table or not table.has_rejected:
                continue
            mapping = _mapping(table)
            for column, parent in parents.items():
                values = {"table": table.id, "column": _source(mapping, column), "offset": table.offsets.get(column, 0)}
                SQL.run(connection, "rejected_by_reference", values, parents=f"erasing_{parent}")
            if "audio_files" in parents.values():
                SQL.run(connection, "rejected_by_path", {"table": table.id})
            if one.key and one.key not in one.goes_with:
                values = {"table": table.id, "column": _source(mapping, one.key), "offset": table.key_offset}
                SQL.run(connection, "ghosts", values, keys=f"erasing_{one.table}")

    def find_unmapped(self, connection: Connection, found: Sequence[str]) -> None:
        """Find what is kept as it is: columns without a home of rows that go, and rows of tables without one."""
        for table in self.tables:
            if not table.has_unmapped:
                continue
            for sibling in self._siblings(table, found):
                values: dict[str, Any] = {"table": table.id, "offset": sibling.key_offset, "sibling": sibling.id}
                SQL.run(connection, "unmapped_columns", values, keys=f"erasing_{sibling.target_table}")
            for column, parent in references().items():
                if parent in found:
                    values = {"table": table.id, "column": column, "offset": self._offset(table, parent)}
                    SQL.run(connection, "unmapped_by_reference", values, parents=f"erasing_{parent}")
            if "audio_files" in found:
                SQL.run(connection, "unmapped_by_path", {"table": table.id})

    def _siblings(self, table: SourceTable, found: Sequence[str]) -> Iterator[SourceTable]:
        """Yield what else the rows of a table became."""
        for other in self.tables:
            same = (other.source_id, other.source_table) == (table.source_id, table.source_table)
            if same and other.mapping and other.target_table in found:
                yield other

    def _offset(self, table: SourceTable, parent: str) -> int:
        """Return what was added to the ids of a table in the same file, or else in the same import."""
        ranked = sorted(self.tables, key=lambda other: (other.source_id != table.source_id, other.id))
        same = (other for other in ranked if other.run_id == table.run_id and other.target_table == parent)
        return next((other.key_offset for other in same if other.mapping), 0)


def references() -> dict[str, str]:
    """Return the columns by which files refer to tables of the schema, whether these columns have a home or not."""
    return {
        mapping.outputs[column]: parent
        for mapping in mappings()
        if (declared := belongings().get(mapping.target))
        for column, parent in declared.goes_with.items()
        if column in mapping.outputs and column != mapping.key
    }


def _mapping(table: SourceTable) -> SourceMapping | None:
    return next((one for one in mappings() if one.name == table.mapping), None)


def _source(mapping: SourceMapping | None, column: str) -> str:
    """Return the file's name of a column; one that this version has no mapping for most likely has the same."""
    return mapping.outputs.get(column, column) if mapping else column
