"""The mappings: one SELECT a source table shape and target, kept as .sql files under mappings/.

A mapping reads its source table as a relation that also has `source_rowid`, and names every output column after its
target column; `"mfcc[3]"` is the third element of the array column `mfcc`. Outputs are bare columns, so that their
storage classes survive: what happens to a value follows from the target's type alone. The head says in comments where
it goes:

    -- target: audio_features
    -- shape: File (ID, Name, Summary)          the table and the columns by which it is told apart
    -- key: audio_file_id                       the target's key column, where it is not id
    -- file: audio_analysis                     the database of a generation that has the table, where there are several
    -- reference: audio_file_id to File         a column that holds ids of another source table
    -- same by: code                            the unique key of rows that every installation has alike, as codes are

Of a table with `same by`, a row that the target has already is not loaded again if it is equal but for its own id and
times. No other kind has that: two installations may each have an account `kim` or a team "1", of different people.
Such a table must not be referred to by id, since the row that is there has another one.

A column that an older file does not have yet is read as NULL; a column that no mapping reads is unmapped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from callytics.postgres.sql import folded, sqlite_name

# All there is to know of source tables: generation_N/NAME.sql, read when it is first asked for. The name is free.
MAPPINGS = Path(__file__).parent / "mappings"
# Comments to SQL: a mapping can be tried in the sqlite3 shell as it is.
HEAD = re.compile(r"^-- (target|shape|key|file|reference|same by): (.+)$", re.MULTILINE)
SHAPE = re.compile(r"(\w+) \((.+)\)")
OUTPUT = re.compile(r'^    (\w+)(?: as "?([\w\[\]]+)"?)?,?$', re.MULTILINE)


@dataclass(frozen=True)
class SourceTable:
    """A table of the snapshot and how its rows are numbered."""

    name: str
    columns: tuple[str, ...]
    # What to select from: the table, or a numbered copy in the temp schema where it has no row numbers of its own.
    relation: str
    rowid: str
    # The INTEGER PRIMARY KEY, which is the row number itself.
    id_column: str | None
    # Columns that only their application can compute, each with what it needs.
    uncomputed: tuple[tuple[str, str], ...] = ()
    # Statements that a connection needs before it knows `relation`.
    preparation: tuple[str, ...] = ()
    # Whether SQLite numbers the rows, so that a number means the same row in a copy of the file.
    has_row_numbers: bool = True
    # The columns that CURRENT_TIMESTAMP is the default of: SQLite wrote the time where the application wrote none.
    clocked: tuple[str, ...] = ()

    def between(self, chunk: tuple[int, int]) -> str:
        """Return the condition that selects a chunk: its first to its last row number."""
        return f"{self.rowid} between {chunk[0]} and {chunk[1]}"


@dataclass(frozen=True)
class Mapping:
    """How one source table becomes rows of one target table."""

    # generation_2/utterances: its file, without the suffix.
    name: str
    generation: int
    source_table: str
    shape: tuple[str, ...]
    target: str
    key: str
    # The database that has the table, of those that an installation of this generation consists of.
    file: str | None
    # Target column → source table whose ids it holds.
    references: dict[str, str]
    # The target columns by which a row is known to be in the target already; none for most tables.
    same_by: tuple[str, ...]
    # Output column → source column.
    outputs: dict[str, str]
    select: str

    def fits(self, table: SourceTable) -> bool:
        """Tell whether the table has this shape; names compare without case, as in SQLite.

        What can't be computed here is of its shape, too: otherwise it would be taken for another program's.
        """
        columns = [*table.columns, *(column for column, _ in table.uncomputed)]
        return folded(table.name) == folded(self.source_table) and not missing(self.shape, columns)


def missing(wanted: Iterable[str], columns: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted columns that are not there, comparing as SQLite does."""
    present = {folded(column) for column in columns}
    return tuple(column for column in wanted if folded(column) not in present)


@dataclass(frozen=True)
class TableMapping:
    """A mapping applied to a table of a file."""

    mapping: Mapping
    table: SourceTable

    @property
    def absent(self) -> tuple[str, ...]:
        """The source columns that this file does not have, or that can't be computed here; they read as NULL."""
        return missing(self.mapping.outputs.values(), self.table.columns)

    @property
    def uncomputed(self) -> dict[str, str]:
        """The target columns whose values only the application can compute, each with why."""
        causes = {folded(column): f"{self.table.name}.{column} {cause}" for column, cause in self.table.uncomputed}
        outputs = self.mapping.outputs.items()
        return {output: causes[folded(source)] for output, source in outputs if folded(source) in causes}

    def relation(self, rowids: str) -> str:
        """Return the WITH clause that names the source rows (of the condition `rowids`) and `mapped`, the result."""
        # Only what is read: with all of a wide table's columns there could be more than SQLite takes.
        present = [column for column in self.table.columns if not missing([column], self.mapping.outputs.values())]
        # Newer SQLites look every column's collation up, which only its application may have.
        columns = "".join(f", {sqlite_name(column)} collate binary as {sqlite_name(column)}" for column in present)
        # NULL in the source's place, so that the mapping's SELECT works on files of any age.
        absent = "".join(f", null as {sqlite_name(column)}" for column in self.absent)
        return (
            f"with {sqlite_name(self.mapping.source_table)} as "
            f"(select {self.table.rowid} as source_rowid{columns}{absent} from {self.table.relation} where {rowids}),\n"
            f"mapped as ({self.mapping.select})\n"
        )


def mappings() -> tuple[Mapping, ...]:
    """Return every mapping of the folder `MAPPINGS`, the latest generation first."""
    return _mappings(MAPPINGS)


@cache
def _mappings(folder: Path) -> tuple[Mapping, ...]:
    # In reverse, so that of two shapes that fit equally well the later generation's is taken.
    return tuple(_read(path) for path in sorted(folder.glob("generation_*/*.sql"), reverse=True))


def _read(path: Path) -> Mapping:
    text = path.read_text(encoding="utf-8")
    head: dict[str, list[str]] = {}
    for word, value in HEAD.findall(text):
        head.setdefault(word, []).append(value)
    shape = SHAPE.fullmatch(head["shape"][0])
    if not shape:
        raise ValueError(f"{path}: the head's shape reads 'table (column, …)'")
    select = text[text.index("select") :]
    outputs = {target or source: source for source, target in OUTPUT.findall(select)}
    del outputs["source_rowid"]
    return Mapping(
        name=f"{path.parent.name}/{path.stem}",
        generation=int(path.parent.name.removeprefix("generation_")),
        source_table=shape[1],
        shape=tuple(shape[2].split(", ")),
        target=head["target"][0],
        key=head.get("key", ["id"])[0],
        file=head.get("file", [None])[0],
        references=dict(_reference(line) for line in head.get("reference", [])),
        same_by=tuple(head["same by"][0].split(", ")) if "same by" in head else (),
        outputs=outputs,
        select=select,
    )


def _reference(line: str) -> tuple[str, str]:
    column, _, table = line.partition(" to ")
    return column, table


def bind(table: SourceTable) -> list[TableMapping]:
    """Return the mappings of a table, one a target; empty where the table is unmapped.

    Where several shapes fit, the one that finds most of its columns in the table is taken.
    """
    best: dict[str, TableMapping] = {}
    for table_mapping in (TableMapping(mapping, table) for mapping in mappings() if mapping.fits(table)):
        rival = best.get(table_mapping.mapping.target)
        # On equal terms the first one stays, which is the later generation's.
        if rival is None or len(table_mapping.absent) < len(rival.absent):
            best[table_mapping.mapping.target] = table_mapping
    return list(best.values())


def unmapped_columns(table: SourceTable, table_mappings: Iterable[TableMapping]) -> tuple[str, ...]:
    """Return the columns of a table that none of its mappings reads."""
    read = [column for table_mapping in table_mappings for column in table_mapping.mapping.outputs.values()]
    return missing(table.columns, read)


def databases(names: Iterable[str]) -> set[str]:
    """Return the databases that have the tables of some mappings, of generations that have several."""
    return {mapping.file for mapping in mappings() if mapping.file and mapping.name in set(names)}


def missing_databases(names: Iterable[str]) -> set[str]:
    """Return the databases that make an installation whole beside those that have the tables of some mappings."""
    there = databases(names)
    generations = {mapping.generation for mapping in mappings() if mapping.file in there}
    return {mapping.file for mapping in mappings() if mapping.file and mapping.generation in generations} - there
