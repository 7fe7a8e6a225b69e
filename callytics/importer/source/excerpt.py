"""The rows that differ between two snapshots of a file, as two small files: SQLite finds them, nothing is converted."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from callytics.importer.source.mapping import SourceTable
from callytics.importer.source.pages import NotUnderstood, RowRange, difference
from callytics.importer.source.reader import Source
from callytics.importer.source.tables import name_text
from callytics.importer.source.trouble import reading
from callytics.postgres.sql import folded, literal, sqlite_name

# A comparison of more columns is deeper than SQLite takes (https://sqlite.org/limits.html#max_expr_depth).
MOST_COLUMNS = 500
# What is mapped instead of read: a snapshot is read once, from the page cache.
MAPPED_BYTES = 1 << 40


@dataclass(frozen=True)
class Excerpt:
    """The rows that differ, as they were and as they are; ``rows`` has the number of them by table, by folded name.

    All rows of tables that are not in ``rows`` have to be compared: which belong together is not known by their
    numbers.
    """

    was: Source
    now: Source
    rows: Mapping[str, int]


def excerpt(was: Source, now: Source, folder: Path, besides: Mapping[str, Collection[int]]) -> Excerpt:
    """Write the rows that differ between two snapshots into two new files in ``folder``, by their row numbers.

    A row is there in ``was`` if the earlier snapshot has it, and in ``now`` if the later one has it; so are the rows of
    the numbers in ``besides``, by table, by folded name, whether they differ or not. Values keep their storage classes,
    of which 1 and 1.0 are two. Tables that have another shape now, or rows without numbers, are left to be compared as
    a whole. Raises ``SnapshotUnreadable`` if a snapshot can't be read.
    """
    paths = [folder / f"{name}.sqlite" for name in ("was", "now")]
    rows: dict[str, int] = {}
    if was.encoding != now.encoding:
        # SQLite attaches no file of another text encoding.
        return Excerpt(was, now, rows)
    with reading(was.path, now.path), closing(now.connect_plain()) as connection:
        # Names and declared types alone are read; values stay in SQLite.
        connection.text_factory = str
        _attach(connection, was, paths)
        tables = _comparable(was, now, connection)
        ranges = _ranges(connection, was, now, tables)
        for table in tables:
            numbers = besides.get(folded(table.name), ())
            rows[folded(table.name)] = _write(connection, table, ranges.get(table.name), numbers)
        connection.commit()
    return Excerpt(Source(paths[0], was.label, was.limits), Source(paths[1], now.label, now.limits), rows)


def _attach(connection: sqlite3.Connection, was: Source, paths: list[Path]) -> None:
    connection.execute("attach ? as other", (was.uri,))
    for schema, path in zip(("was", "now"), paths, strict=True):
        connection.execute(f"attach ? as {schema}", (f"{path.resolve().as_uri()}?mode=rwc",))
        # Scratch: whoever is killed begins anew.
        connection.execute(f"pragma {schema}.journal_mode = off")
        connection.execute(f"pragma {schema}.synchronous = off")
    for schema in ("main", "other"):
        connection.execute(f"pragma {schema}.mmap_size = {MAPPED_BYTES}")


def _comparable(was: Source, now: Source, connection: sqlite3.Connection) -> list[SourceTable]:
    """Return the tables whose row numbers mean the same row in both snapshots, as far as they mean anything."""
    earlier = {table.name: table for table in was.tables}
    return [
        table
        for table in now.tables
        if table == earlier.get(table.name)
        and table.has_row_numbers
        # Not one with names that no statement can hold.
        and table.relation == f"main.{sqlite_name(table.name)} not indexed"
        and len(table.columns) <= MOST_COLUMNS
        and _statement(connection, "main", table) == _statement(connection, "other", table)
    ]


def _statement(connection: sqlite3.Connection, schema: str, table: SourceTable) -> str:
    query = f"select sql from {schema}.sqlite_master where type = 'table' and name = ?"
    return str(connection.execute(query, (table.name,)).fetchone()[0])


def _ranges(
    connection: sqlite3.Connection, was: Source, now: Source, tables: Sequence[SourceTable]
) -> dict[str, list[RowRange]]:
    """Return the only row numbers whose rows can differ, by table; all of a table's can that is not among them."""
    try:
        with difference(was.path, now.path) as pages:
            ranges = {table.name: pages.rows(pages.leaves(*_root(connection, table.name))) for table in tables}
            if pages.unexplained:
                pages.explain(*_roots(connection))
            unexplained = pages.unexplained
    except NotUnderstood:
        return {}
    owners = _owners(connection, unexplained) if unexplained else set()
    return {name: own for name, own in ranges.items() if owners is not None and name not in owners}


def _root(connection: sqlite3.Connection, name: str) -> tuple[int, int]:
    """Return the pages in which a table begins, before and now."""
    query = "select rootpage from {}.sqlite_master where type = 'table' and name = ?"
    before, after = (connection.execute(query.format(one), (name,)).fetchone()[0] for one in ("other", "main"))
    return before, after


def _roots(connection: sqlite3.Connection) -> tuple[set[int], set[int]]:
    """Return the pages in which tables and indexes begin, before and now; their own list begins in the first."""
    query = "select rootpage from {}.sqlite_master where rootpage > 0"
    before, after = ({1, *(root for (root,) in connection.execute(query.format(one)))} for one in ("other", "main"))
    return before, after


def _owners(connection: sqlite3.Connection, pages: Collection[int]) -> set[str] | None:
    """Return the tables to whose rows overflow pages belong; None where this SQLite can't tell."""
    connection.execute("create temp table pages (number integer primary key)")
    connection.executemany("insert into temp.pages values (?)", ((number,) for number in pages))
    query = (
        "select distinct cast(name as blob) from dbstat('main') "
        "where pagetype = 'overflow' and pageno in (select number from temp.pages)"
    )
    try:
        return {name_text(name) for (name,) in connection.execute(query)}
    except sqlite3.OperationalError:
        # Not compiled in: https://sqlite.org/dbstat.html.
        return None


def _write(
    connection: sqlite3.Connection, table: SourceTable, ranges: Sequence[RowRange] | None, besides: Collection[int]
) -> int:
    """Write the rows of a table that differ, and some besides, into both files; returns how many row numbers."""
    name = sqlite_name(table.name)
    connection.execute("create temp table differing (number integer primary key)")
    connection.execute("create temp table ranges (first integer, last integer)")
    connection.executemany("insert into temp.differing values (?)", ((number,) for number in besides))
    connection.executemany("insert into temp.ranges values (?, ?)", ranges or ())
    if ranges or ranges is None:
        for query in _differing(connection, table, within=ranges is not None):
            connection.execute(f"insert or ignore into temp.differing {query}")
    for source, target in (("other", "was"), ("main", "now")):
        connection.execute(f"create table {target}.{name} ({', '.join(_columns(table))})")
        names = ", ".join([table.rowid, *(sqlite_name(one) for one in table.columns if one != table.id_column)])
        connection.execute(
            f"insert into {target}.{name} ({names}) select {names} from {source}.{name} not indexed "
            f"where {table.rowid} in (select number from temp.differing)"
        )
        _copy_sequence(connection, table, source, target)
    (rows,) = connection.execute("select count(*) from temp.differing").fetchone()
    connection.execute("drop table temp.differing")
    connection.execute("drop table temp.ranges")
    return int(rows)


def _differing(connection: sqlite3.Connection, table: SourceTable, *, within: bool) -> list[str]:
    """Return the queries for the numbers of rows that are new or another, and of those that are gone.

    ``within`` the ranges of row numbers in temp.ranges, or anywhere.
    """
    name, rowid = sqlite_name(table.name), table.rowid
    same = " and ".join(_same(connection, table)) or "true"
    # In this order: for each range its rows, rather than for each row its range.
    begin, limits = (
        ("temp.ranges as r cross join ", f" on t.{rowid} between r.first and r.last") if within else ("", "")
    )

    def unlike(one: str, other: str) -> str:
        return (
            f"select t.{rowid} from {begin}{one}.{name} as t not indexed{limits} "
            f"left join {other}.{name} as o not indexed on o.{rowid} = t.{rowid} where o.{rowid} is null"
        )

    return [f"{unlike('main', 'other')} or not ({same})", unlike("other", "main")]


def _same(connection: sqlite3.Connection, table: SourceTable) -> list[str]:
    types = {
        column: kind.upper()
        for _, column, kind, *_ in connection.execute(f"pragma main.table_xinfo({literal(table.name)})")
    }
    conditions = []
    for column in table.columns:
        name = sqlite_name(column)
        # A collation could make texts equal.
        conditions.append(f"t.{name} is o.{name} collate binary")
        if keeps_classes(types[column]):
            classes = f"typeof(t.{name}) = typeof(o.{name})"
            conditions.append(f"{classes} and (typeof(t.{name}) <> 'real' or quote(t.{name}) = quote(o.{name}))")
    return conditions


def keeps_classes(declared: str) -> bool:
    """Tell whether a column of a declared type, in capitals, can hold 1 beside 1.0, or 0.0 beside -0.0.

    All others make one of the other when they are written, or hold neither
    (https://sqlite.org/datatype3.html#determination_of_column_affinity; ANY is that of a STRICT table).
    """
    return not declared or "BLOB" in declared or declared == "ANY"


def _columns(table: SourceTable) -> list[str]:
    # Without a type a column keeps whatever it is given; AUTOINCREMENT, because ids that were given once count too.
    return [
        f"{sqlite_name(column)} integer primary key autoincrement" if column == table.id_column else sqlite_name(column)
        for column in table.columns
    ]


def _copy_sequence(connection: sqlite3.Connection, table: SourceTable, source: str, target: str) -> None:
    """Bring along the highest id that the table has ever given, where the file has it."""
    query = f"select 1 from {source}.sqlite_master where name = 'sqlite_sequence'"
    if not table.id_column or not connection.execute(query).fetchone():
        return
    connection.execute(f"delete from {target}.sqlite_sequence where name = ?", (table.name,))
    connection.execute(
        f"insert into {target}.sqlite_sequence select name, seq from {source}.sqlite_sequence where name = ?",
        (table.name,),
    )
