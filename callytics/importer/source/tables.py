"""The tables of a file as SQLite describes them, under whatever names they have.

To SQLite a name is bytes. An application that wrote CP949 where UTF-8 was due has tables and columns whose names no
statement from Python can hold; such columns are read by their places, and such tables through a view.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from callytics.postgres.sql import folded, literal, quote, sqlite_name

ROWID_NAMES = ("rowid", "_rowid_", "oid")
# Columns of a view or of a query that SQLite gives another name (sqlite3ColumnsFromExprList in select.c).
NAMELESS = {"true", "false"}
NUMBER_COLUMN = "number of the row"
# A default that is the time in UTC, as SQLite writes it.
CLOCK = re.compile(rb"[\s(]*(current_timestamp|datetime\s*\(\s*(['\"]now['\"])?\s*\))[\s)]*", re.IGNORECASE)
# A generated column that is not stored, as pragma table_xinfo calls it.
VIRTUAL = 2
# Why a computed column can't be read, as resolve.c and expr.c of SQLite word it.
FUNCTION = re.compile(r"(?:no such|unknown) function: (\w+)(?:\(\))?")
# A backslash that would read as the escape of a byte.
LIKE_ESCAPE = re.compile(rb"\\(?=x[0-9a-f]{2})")


def name_text(raw: bytes) -> str:
    r"""Return a name as text that PostgreSQL can hold: itself, but for bytes that are not UTF-8, and NUL.

    These become their escapes (`\xb8`). No two names have the same text: a name that holds such an escape itself gets
    its backslash escaped (`\x5cxb8`).
    """
    escaped = LIKE_ESCAPE.sub(rb"\\x5c", raw)
    try:
        text = escaped.decode()
    except UnicodeDecodeError:
        # All of them: two bytes of one Korean letter and the next may be UTF-8 by chance.
        text = escaped.decode("ascii", errors="backslashreplace")
    return text.replace("\0", "\\x00")


@dataclass(frozen=True)
class Description:
    """A table as SQLite describes it; the fields are those of `mapping.SourceTable`, which says what they mean."""

    name: str
    columns: tuple[str, ...]
    relation: str
    rowid: str
    id_column: str | None = None
    uncomputed: tuple[tuple[str, str], ...] = ()
    preparation: tuple[str, ...] = ()
    has_row_numbers: bool = True
    clocked: tuple[str, ...] = ()


@dataclass
class _Described:
    """A table on its way to a `Description`."""

    number: int
    raw: bytes
    # Raw name, place in the primary key, whether and how it is hidden: a row a column.
    info: list[tuple[bytes, int, int]] = field(default_factory=list)
    clocked: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return name_text(self.raw)

    @property
    def columns(self) -> list[str]:
        return [name_text(column) for column, *_ in self.info]

    @property
    def can_be_named(self) -> bool:
        return self.name.encode() == self.raw

    @property
    def odd_columns(self) -> frozenset[str]:
        """The columns that no statement can name."""
        return frozenset(name_text(column) for column, *_ in self.info if name_text(column).encode() != column)


def source_tables(connection: sqlite3.Connection) -> tuple[Description, ...]:
    """Return the user's tables; raises `sqlite3.Error` where SQLite can't tell what one is.

    Virtual tables are left out: their content is in their shadow tables.
    """
    connection.text_factory = bytes
    rows = connection.execute(
        # SQLite reserves the prefix for tables of its own, such as sqlite_sequence and sqlite_stat1. A virtual table
        # has no page of its own, however its statement is written.
        "select rowid, name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\' "
        "and rootpage > 0 order by name"
    )
    return tuple(_describe(_Described(number, raw), connection) for number, raw in rows.fetchall())


def _describe(table: _Described, connection: sqlite3.Connection) -> Description:
    # table_info would leave out generated columns. The pragma itself where it can be: a table of the file that is
    # called pragma_table_xinfo would be read instead of the function.
    query = (
        f"pragma main.table_xinfo({literal(table.name)})"
        if table.can_be_named
        else f"select * from pragma_table_xinfo({_raw_name(table.number)}, 'main')"
    )
    rows = connection.execute(query).fetchall()
    table.info = [(column, pk, hidden) for _, column, _, _, _, pk, hidden in rows]
    table.clocked = tuple(
        name_text(column) for _, column, _, _, default, _, _ in rows if default and CLOCK.fullmatch(default)
    )
    found = _named if table.can_be_named and not table.odd_columns else _by_place
    return replace(found(table, connection), clocked=table.clocked)


def _named(table: _Described, connection: sqlite3.Connection) -> Description:
    """Describe a table all of whose names can stand in a statement."""
    name = table.name
    computed = [(name_text(column), hidden == VIRTUAL) for column, _, hidden in table.info if hidden]
    causes = {column: cause for column, each in computed if (cause := _cause(name, column, connection, each_row=each))}
    columns, uncomputed = tuple(column for column in table.columns if column not in causes), tuple(causes.items())
    rowid = _rowid_name(table, f"main.{sqlite_name(name)}", connection)
    if not rowid:
        return _copied(Description(name, columns, f"main.{sqlite_name(name)}", "", uncomputed=uncomputed))
    # An index may need a collation or a function that is missing here; the rows do not.
    relation = f"main.{sqlite_name(name)} not indexed"
    return Description(name, columns, relation, rowid, _id_column(table, connection), uncomputed)


def _by_place(table: _Described, connection: sqlite3.Connection) -> Description:
    """Describe a table that has a name which no statement can hold: its columns get their texts for names."""
    columns, number = tuple(table.columns), _free_name({folded(column) for column in table.columns})
    nameless = any(folded(column) in NAMELESS for column in columns)
    for rowid in (None,) if nameless else (*_free_aliases(columns)[:1], None):
        names = ", ".join(map(sqlite_name, [number, *columns] if rowid else columns))
        selected = f"select {rowid}, *" if rowid else "select *"
        found = Description(table.name, columns, "", sqlite_name(number))
        if table.can_be_named:
            inner = f"{selected} from main.{sqlite_name(table.name)} not indexed"
            relation = f"(with odd({names}) as ({inner}) select * from odd)"
            found = replace(found, relation=relation, id_column=_id_column(table, connection))
        else:
            view = f"table {table.number} {'by number' if rowid else 'as it is'}"
            preparation = _view(view, names, selected, table.number)
            found = replace(found, relation=f"temp.{quote(view)}", preparation=preparation)
            for statement in found.preparation:
                connection.execute(statement)
        if _can_be_read(found, connection):
            return found if rowid else _copied(found, by_place=nameless)
    # SQLite says why.
    connection.execute(f"select 1 from {found.relation} limit 0")
    return found


def _can_be_read(table: Description, connection: sqlite3.Connection) -> bool:
    try:
        connection.execute(f"select 1 from {table.relation} limit 0")
    except sqlite3.OperationalError:
        return False
    return True


def _raw_name(number: int) -> str:
    """Return an expression for a table's name, which SQLite then need not be told."""
    return f"(select name from main.sqlite_master where rowid = {number})"


def _view(view: str, names: str, selected: str, number: int) -> tuple[str, ...]:
    """Return the statements that make a view of a table whose name no statement can hold.

    They let SQLite itself put the name into the view's definition, in the schema of temporary things
    (https://sqlite.org/pragma.html#pragma_writable_schema).
    """
    begin = literal(f"create view {quote(view)}({names}) as {selected} from main.")
    name = f"""'"' || replace({_raw_name(number)}, '"', '""') || '"'"""
    return (
        f"create temp view {quote(view)} as select 1",
        "pragma writable_schema = on",
        f"update sqlite_temp_master set sql = {begin} || {name} where name = {literal(view)}",
        "commit",
        "pragma writable_schema = reset",
    )


def _copied(table: Description, *, by_place: bool = False) -> Description:
    """Return a table without row numbers as a numbered copy of it, which each connection makes for itself.

    With ``by_place`` no column is named where it is read.
    """
    taken = {folded(column) for column in table.columns}
    # A name of the row number, where one is free, is the copy's own.
    free = next((alias for alias in ROWID_NAMES if alias not in taken), None)
    number = sqlite_name(_free_name(taken))
    names = list(map(sqlite_name, table.columns))
    columns = ", ".join(names if free else [number, *names])
    # Newer SQLites look every column's collation up, which only its application may have.
    read = ["*"] if by_place else [f"{name} collate binary" for name in names]
    values = ", ".join(read if free else ["row_number() over ()", *read])
    copy = f"temp.{sqlite_name(table.name)}"
    return replace(
        table,
        relation=copy,
        rowid=free or number,
        preparation=(
            *table.preparation,
            f"select count(*) from {table.relation}",
            # Once a collation was missing, SQLite finds no way to read by the key until it has read the schema again.
            "pragma writable_schema = reset",
            # Named and without types: by "create … as select" it calls a column "true" column2, and converts values.
            f"create temp table {sqlite_name(table.name)} ({columns})",
            f"insert into {copy} select {values} from {table.relation}",
        ),
        has_row_numbers=False,
    )


def _id_column(table: _Described, connection: sqlite3.Connection) -> str | None:
    """Return the INTEGER PRIMARY KEY."""
    keys = [name_text(column) for column, pk, _ in table.info if pk]
    # Every other key has an index: an INT PRIMARY KEY, or an INTEGER PRIMARY KEY DESC, is a column of its own
    # (https://sqlite.org/lang_createtable.html#rowid).
    indexes = connection.execute(f"pragma main.index_list({literal(table.name)})")
    indexed = any(origin == b"pk" for _, _, _, origin, _ in indexes)
    return keys[0] if keys and not indexed else None


def _cause(name: str, column: str, connection: sqlite3.Connection, *, each_row: bool) -> str | None:
    """Return why a generated column can't be read here; None where it can.

    With ``each_row`` its values are computed when they are read, and each one may fail: json() of what is no JSON.
    """
    relation = f"main.{sqlite_name(name)} not indexed"
    try:
        connection.execute(f"select {sqlite_name(column)} from {relation} limit 0")
    except sqlite3.OperationalError as error:
        missing = FUNCTION.fullmatch(str(error))
        return f"needs the function {missing[1]}" if missing else str(error)
    try:
        if each_row:
            connection.execute(f"select count({sqlite_name(column)}) from {relation}")
    except sqlite3.Error as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG):
            return f"{error} in a row"
        raise
    return None


def _free_aliases(columns: Sequence[str]) -> list[str]:
    """Return the names of the row number that no column shadows."""
    taken = {folded(column) for column in columns}
    return [alias for alias in ROWID_NAMES if alias not in taken]


def _rowid_name(table: _Described, relation: str, connection: sqlite3.Connection) -> str | None:
    """Return a name of the row number that no column shadows; None where the table has none."""
    free = _free_aliases(table.columns)
    if not free:
        return None
    try:
        # Tables WITHOUT ROWID have none. Trying works with every SQLite; pragma table_list came with 3.37.
        connection.execute(f"select {free[0]} from {relation} limit 0")
    except sqlite3.OperationalError:
        return None
    return free[0]


def _free_name(taken: set[str]) -> str:
    name = NUMBER_COLUMN
    while name in taken:
        name += "_"
    return name
