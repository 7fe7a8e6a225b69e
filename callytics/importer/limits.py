"""The limits that a file can meet, and what an import does with what meets them.

They stand here as data, a line each; the manual explains each under Troubleshooting. All of them are known before an
import is begun: `inspect` says them without a server, and an import refuses what can't be kept before it writes.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from callytics.exceptions import SourceError
from callytics.importer.convert.rows import LARGEST_RECORD_BYTES
from callytics.importer.convert.values import LARGEST_BIGINT
from callytics.importer.source.mapping import SourceTable, TableMapping, mappings, missing
from callytics.importer.source.memory import free_bytes
from callytics.importer.source.pages import NotUnderstood, most_overflow
from callytics.importer.source.reader import RESULT_COLUMNS, Source
from callytics.postgres.sql import folded, sqlite_name
from callytics.postgres.text import counted, named, sized
from callytics.schema.catalogue.catalogue import expected

# What becomes of a file that meets a limit: the import refuses it, some rows may be rejected, the application will lack
# something, or nothing is lost and this says how it is kept.
Then = Literal["refused", "rejected", "lacking", "kept"]
# As much memory as a row takes, its values held in both drivers and compared with PostgreSQL's: a sync of a text of
# 100 MB took 1.25 GB, in Korean, on a table of the schema; all others took less.
ROW_MEMORY = 13
# Of SQLite, in bytes: more of a row than that is in overflow pages.
LARGEST_PAGE = 65_536
UNIQUE = re.compile(r"UNIQUE \((.+)\)")
# Columns whose words are searched, of transcripts whose first characters are indexed (migrations 0030 and 0031).
SEARCHED = {"transcriptions": "text_content", "utterances": "text"}


@dataclass(frozen=True)
class Limit:
    """A limit: its number, what is said of who exceeds it, and what to do."""

    most: int
    then: Then
    what: str
    remedy: str

    def line(self, subject: str, found: int) -> str:
        """Say who exceeds it by how much, and what to do."""
        nouns = {f"{noun}s": counted(found, noun) for noun in ("row", "value", "text", "id")}
        sizes = {"size": sized(found), "most_size": sized(self.most)}
        return f"{self.what.format(subject=subject, found=found, most=self.most, **nouns, **sizes)}: {self.remedy}"


@dataclass(frozen=True)
class Reached:
    """A limit that a file meets: by which table, or table and column, and how many there are (bytes, rows, ids)."""

    limit: str
    subject: str
    found: int
    then: Then
    line: str


LIMITS = {
    # An entry of an index of imports.tables, of which a third of a page is the most (BTMaxItemSize in nbtree.h).
    "table name": Limit(
        2_000,
        "refused",
        "table {subject} has a name of {found:,} bytes, and records hold {most:,}",
        "give it a shorter one with ALTER TABLE … RENAME TO",
    ),
    # NAMEDATALEN: https://www.postgresql.org/docs/15/limits.html, as the next one.
    "identifier": Limit(
        63,
        "kept",
        "{subject} has names of up to {found:,} bytes, and PostgreSQL cuts its own at {most:,}",
        "nothing to do: such names are values in imports.unmapped, none is cut, and equal beginnings stay apart",
    ),
    "columns": Limit(
        1_600,
        "kept",
        "{subject} has {found:,} columns, and a table of PostgreSQL no more than {most:,}",
        "nothing to do: columns that nothing maps are kept together in imports.unmapped, one value a row",
    ),
    "function name": Limit(
        0,
        "kept",
        "{subject} is called like a function or module of SQLite",
        "nothing to do here: it is read as the table that it is; queries of your own need main. before its name",
    ),
    "shape": Limit(
        0,
        "kept",
        "{subject} is called like a table of Callytics, but lacks {found} of its columns",
        "look whether it is the right file: its rows are kept in imports.unmapped",
    ),
    # JENTRY_OFFLENMASK in jsonb.h.
    "record": Limit(
        LARGEST_RECORD_BYTES,
        "kept",
        "{subject} has {rows} larger than a record holds ({most:,} bytes)",
        "keep the folder of the snapshots: their largest values stay there, and the records have their SHA-256",
    ),
    "memory": Limit(
        0,
        "refused",
        "{subject} has a row of {size}, and the memory that is free here is enough for one of {most_size}",
        "run the command where more is free, or leave the row out of a copy of the file",
    ),
    # BTMaxItemSize again; what PostgreSQL can compress to that length is taken.
    "unique text": Limit(
        2_704,
        "rejected",
        "{subject} is unique and has {values} of more than {most:,} bytes, which an index may not hold",
        "shorten them, or find the rows in imports.rejected afterwards",
    ),
    "search": Limit(
        100_000,
        "lacking",
        "{subject} has {texts} of more than {most:,} characters",
        "divide them, or search finds the words of their beginnings only; the texts themselves are kept whole",
    ),
    "ids": Limit(
        1_000_000,
        "lacking",
        "{ids} left above those of {subject}",
        "give its rows lower ids, or the application can store no more than that",
    ),
}


def limits_of(source: Source) -> Iterator[Reached]:
    """Yield every limit that a file meets, table by table; reads as little of the rows as it can."""
    yield from _of_memory(source)
    for table in source.tables:
        yield from _of_names(table, source.table_mappings[table.name])
        yield from _of_rows(source, table)
        for mapped in source.table_mappings[table.name]:
            yield from _of_texts(source, mapped)
            yield from _of_ids(source, mapped)


def refuse_beyond(source: Source) -> None:
    """Raise ``SourceError`` for what can't be kept, before anything is written."""
    for reached in (*(one for table in source.tables for one in _of_names(table, ())), *_of_memory(source)):
        if reached.then == "refused":
            raise SourceError(f"{source.label} can't be kept: {reached.line}")


def _reached(name: str, subject: str, found: int, most: int | None = None) -> Iterator[Reached]:
    limit = LIMITS[name] if most is None else replace(LIMITS[name], most=most)
    # A name that is itself too long would fill the screen.
    short = subject if len(subject) <= 2 * LIMITS["identifier"].most else f"{subject[:60]}…"
    yield Reached(name, subject, found, limit.then, limit.line(named(short), found))


def _of_names(table: SourceTable, mapped: Collection[TableMapping]) -> Iterator[Reached]:
    length = len(table.name.encode())
    longest = max(length, *(len(column.encode()) for column in table.columns))
    if length > LIMITS["table name"].most:
        yield from _reached("table name", table.name, length)
    elif longest > LIMITS["identifier"].most:
        yield from _reached("identifier", table.name, longest)
    if len(table.columns) > LIMITS["columns"].most:
        yield from _reached("columns", table.name, len(table.columns))
    if folded(table.name) in _functions():
        yield from _reached("function name", table.name, 1)
    lacks = [missing(one.shape, table.columns) for one in mappings() if folded(one.source_table) == folded(table.name)]
    if lacks and not mapped:
        yield from _reached("shape", table.name, min(map(len, lacks)))


@cache
def _functions() -> frozenset[str]:
    """Return the names that mean something to SQLite where a table or a function may stand."""
    with closing(sqlite3.connect(":memory:")) as connection:
        names = {name for (name,) in connection.execute("select name from pragma_function_list")}
        names |= {name for (name,) in connection.execute("select name from pragma_module_list")}
        names |= {f"pragma_{name}" for (name,) in connection.execute("select name from pragma_pragma_list")}
    return frozenset(map(folded, names))


def _of_rows(source: Source, table: SourceTable) -> Iterator[Reached]:
    most = LIMITS["record"].most
    # A byte of a blob is two in a record. In a smaller file there is no such row.
    if 2 * source.path.stat().st_size <= most or not source.unmapped_columns(table):
        return
    sizes = [
        f"iif(typeof({name}) = 'blob', 2, 1) * coalesce(length(cast({name} as blob)), 0)"
        for name in map(sqlite_name, source.unmapped_columns(table)[:RESULT_COLUMNS])
    ]
    with source.opened() as connection:
        query = f"select count(*) from {table.relation} where {' + '.join(sizes)} > {most:d}"
        if found := connection.execute(query).fetchone()[0]:
            yield from _reached("record", table.name, found)


def _of_memory(source: Source) -> Iterator[Reached]:
    free = free_bytes()
    if free is None or _largest_possible(source) * ROW_MEMORY <= free:
        return
    for table in source.tables:
        if (largest := _largest_row(source, table)) * ROW_MEMORY > free:
            yield from _reached("memory", table.name, largest, free // ROW_MEMORY)


def _largest_possible(source: Source) -> int:
    """Return how many bytes no row of a file has more than: to look at each one takes seconds a gigabyte."""
    size = source.path.stat().st_size
    with suppress(NotUnderstood), source.opened() as connection:
        roots = connection.execute("select rootpage from main.sqlite_master where rootpage > 0").fetchall()
        return min(size, LARGEST_PAGE + most_overflow(source.path, [1, *(root for (root,) in roots)]))
    return size


def _largest_row(source: Source, table: SourceTable) -> int:
    names = list(map(sqlite_name, table.columns))
    largest = 0
    with source.opened() as connection:
        for start in range(0, len(names), RESULT_COLUMNS):
            sizes = [f"coalesce(length(cast({name} as blob)), 0)" for name in names[start : start + RESULT_COLUMNS]]
            query = f"select max({' + '.join(sizes)}) from {table.relation}"
            largest = max(largest, connection.execute(query).fetchone()[0] or 0)
    return largest


def _of_texts(source: Source, mapped: TableMapping) -> Iterator[Reached]:
    target = mapped.mapping.target
    for column in _unique_columns(target) & set(mapped.mapping.outputs):
        yield from _longer(source, mapped, column, "unique text", "length(cast({} as blob))")
    if (column := SEARCHED.get(target, "")) in mapped.mapping.outputs:
        yield from _longer(source, mapped, column, "search", "length({})")


@cache
def _unique_columns(target: str) -> frozenset[str]:
    keys = (part.definition for part in expected().parts if (part.kind, part.relation) == ("constraint", target))
    return frozenset(column for key in keys if (found := UNIQUE.fullmatch(key)) for column in found[1].split(", "))


def _longer(source: Source, mapped: TableMapping, column: str, limit: str, length: str) -> Iterator[Reached]:
    if source.path.stat().st_size <= LIMITS[limit].most:
        return
    name = sqlite_name(column)
    query = (
        f"{mapped.relation('true')} select count(*) from mapped where typeof({name}) = 'text' "
        f"and {length.format(name)} > {LIMITS[limit].most:d}"
    )
    with source.opened() as connection:
        if found := connection.execute(query).fetchone()[0]:
            yield from _reached(limit, f"{mapped.table.name}.{mapped.mapping.outputs[column]}", found)


def _of_ids(source: Source, mapped: TableMapping) -> Iterator[Reached]:
    if mapped.mapping.key in mapped.mapping.references:
        return
    ids = source.id_range(mapped)
    left = LARGEST_BIGINT - max(source.sequence(mapped.table), ids[1] if ids else 0)
    if left < LIMITS["ids"].most:
        yield from _reached("ids", mapped.table.name, left)
