"""Named queries, and what any statement returns to its caller: rows as dicts, one of them, a value, or a count.

SQL is kept in .sql files, each query headed by a line ``-- name: …`` and a comment that says what it does.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from psycopg2 import sql

ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)

Parameters = Mapping[str, Any] | Sequence[Any] | None
Part = str | Sequence[str] | sql.Composable
Row = dict[str, Any]


class Connection(Protocol):
    """A connection of either driver."""

    @property
    def info(self) -> Any:
        """Return what libpq knows about it."""

    def cursor(self) -> Any:
        """Return a cursor."""


class Composed(str):
    """A piece of SQL that goes into a query as it is."""


class Queries(Mapping[str, str]):
    """The queries of a .sql file by name, and the one way to run them on a connection of either driver.

    ``queries["name"]`` is a query's text, for :meth:`PostgreSQLManager.execute_query` and for SQLite. The methods run
    one in the connection's transaction: they neither commit nor translate errors, which is up to its owner.

    Parameters are a mapping for ``%(name)s`` or a sequence for ``%s``. Keywords fill ``{name}``: a text becomes an
    identifier, with its schema before a dot, several texts become a list of columns, what is composed stays as it is.
    A query with keywords writes its own braces twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._texts = _texts(path)

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, name: str, connection: Connection | None = None, /, **parts: Part) -> Composed:
        """Return a query with its identifiers, to be run by a PostgreSQLManager or given to COPY.

        What psycopg2 has composed needs a ``connection`` of its own to become text.
        """
        # Only composed with parts: other queries may use braces as JSON and arrays have them.
        query = self._texts[name]
        known = {part: _composed(value, connection) for part, value in parts.items()}
        return Composed(query.format(**known) if parts else query)

    def run(self, connection: Connection, name: str, parameters: Parameters = None, /, **parts: Part) -> int:
        """Run a query and return how many rows it touched."""
        with self._executed(connection, name, parameters, parts) as cursor:
            return _none(cursor)

    def one(self, connection: Connection, name: str, parameters: Parameters = None, /, **parts: Part) -> Row | None:
        """Return the first row by its columns' names, None where there is none."""
        with self._executed(connection, name, parameters, parts) as cursor:
            return _one(cursor)

    def all(self, connection: Connection, name: str, parameters: Parameters = None, /, **parts: Part) -> list[Row]:
        """Return every row by its columns' names."""
        with self._executed(connection, name, parameters, parts) as cursor:
            return _all(cursor)

    def rows(
        self, connection: Connection, name: str, parameters: Parameters = None, /, **parts: Part
    ) -> list[tuple[Any, ...]]:
        """Return every row as a tuple."""
        with self._executed(connection, name, parameters, parts) as cursor:
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def value(self, connection: Connection, name: str, parameters: Parameters = None, /, **parts: Part) -> Any:
        """Return the first value of the first row, None where there is none."""
        with self._executed(connection, name, parameters, parts) as cursor:
            return _val(cursor)

    @contextmanager
    def _executed(
        self, connection: Connection, name: str, parameters: Parameters, parts: Mapping[str, Part]
    ) -> Iterator[Any]:
        with connection.cursor() as cursor:
            cursor.execute(self.text(name, connection, **parts), parameters)
            yield cursor


def identifier(name: str) -> Composed:
    """Return a name as an identifier; a table's may have its schema before a dot."""
    return Composed(".".join(map(quote, name.split("."))))


def quote(name: str) -> str:
    """Return an identifier as PostgreSQL and SQLite read it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def sqlite_name(name: str) -> str:
    """Return an identifier as SQLite reads it, whatever is in it.

    Between backticks: what stands between double quotes is text to SQLite where there is no such column, and would be
    taken for the column's value (https://sqlite.org/quirks.html#dblquote).
    """
    return "`" + name.replace("`", "``") + "`"


def folded(name: str) -> str:
    """Return the one form of all names that are the same to SQLite, which folds ASCII letters only.

    `str.lower` would take the Kelvin sign for a k, and one of two columns for the other.
    Source: https://sqlite.org/faq.html#q18
    """
    return name.lower() if name.isascii() else name.translate(ASCII_LOWER)


def literal(text: str) -> str:
    """Return a text as a literal of SQL, for statements that take no parameters.

    It means the same to SQLite and to PostgreSQL with standard_conforming_strings on, which is the default.
    """
    return "'" + text.replace("'", "''") + "'"


def _composed(part: Part, connection: Any) -> str:
    if isinstance(part, sql.Composable):
        return part.as_string(connection)
    if isinstance(part, Composed):
        return part
    return identifier(part) if isinstance(part, str) else ", ".join(map(quote, part))


@cache
def _texts(path: Path) -> dict[str, str]:
    _, *parts = NAME.split(path.read_text(encoding="utf-8"))
    # Of two queries with one name a dict would keep the last without a word.
    if len(set(parts[::2])) < len(parts[::2]):
        raise ValueError(f"two queries of {path.name} have the same name")
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


def _names(cursor: Any) -> list[str]:
    names = [column[0] for column in cursor.description]
    # A dict would keep the last of the two without a word.
    if len(set(names)) < len(names):
        raise ValueError(f"two columns have the same name, rename one with AS: {', '.join(names)}")
    return names


def _all(cursor: Any) -> list[Row]:
    if cursor.description is None:
        return []
    names = _names(cursor)
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _one(cursor: Any) -> Row | None:
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else dict(zip(_names(cursor), row, strict=True))


def _val(cursor: Any) -> Any:
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else row[0]


def _none(cursor: Any) -> int:
    count: int = cursor.rowcount
    return count
