"""Whether a file is damaged, told apart from what only its application can use or has written against its own rules."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

# What a check can need that only the application's own program registers
# (pragma.c, expr.c and resolve.c of SQLite word it so).
NEEDED = re.compile(
    r"no such (?P<collation>collation) sequence: (?P<name>.+)|(?:no such|unknown) function: (?P<function>\w+)"
)
# A row that its table's rules forbid: it is there as it was written.
RULE = re.compile(
    r"NULL value in |non-\S+ value in |(NUMERIC|TEXT) value in |CHECK constraint failed in |non-unique entry in "
)
# Says something of an index only, and nothing where a stand-in took the place of what orders or computes its entries.
INDEX = re.compile(
    r"row \d+ missing from index |row \d+ values differ from index |wrong # of entries in index |rowid not|"
    r"row not in PRIMARY KEY order "
)
UNSAFE_JSON = re.compile(r"unsafe use of json\w*\(\)")
STAND_INS = 1000


def damage(path: Path) -> str | None:
    """Return what SQLite finds damaged in a file; None where all that reading needs is sound.

    Rows that break CHECK, NOT NULL or UNIQUE of their own table are no damage. Collations and functions that are
    missing here are replaced for the check, since rows are read without them. Raises `sqlite3.DatabaseError` where the
    file can't be checked at all.
    """
    needed: set[str] = set()
    with closing(sqlite3.connect(path)) as connection:
        distrust(connection)
        # It names tables and indexes, whose names may be any bytes.
        connection.text_factory = lambda raw: raw.decode(errors="backslashreplace")
        # Otherwise each such row would be a finding, and hide what comes after the first hundred.
        connection.execute("pragma ignore_check_constraints = on")
        for finding in _findings(connection, needed):
            if not RULE.match(finding) and not (needed and INDEX.match(finding)):
                return finding.replace("*** in database main ***\n", "").splitlines()[0]
    return None


def distrust(connection: sqlite3.Connection) -> None:
    """Let nothing that a file's schema names do more than compute (https://sqlite.org/security.html)."""
    connection.execute("pragma trusted_schema = off")
    try:
        connection.execute("select 1 from sqlite_master")
    except sqlite3.DatabaseError as error:
        # SQLite 3.40 counts its JSON functions among what does more, and takes CHECK (json_valid(…)) for damage.
        # Whatever else is wrong is said by whoever reads on.
        if UNSAFE_JSON.search(str(error)):
            connection.execute("pragma trusted_schema = on")


def _findings(connection: sqlite3.Connection, needed: set[str]) -> Iterator[str]:
    try:
        yield from _checked(connection, needed)
    except sqlite3.Error as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG):
            raise
        needed.update(_compute_nothing(connection))
        yield from _checked(connection, needed)


def _checked(connection: sqlite3.Connection, needed: set[str]) -> Iterator[str]:
    cursor = with_stand_ins(connection, lambda: connection.execute("pragma integrity_check(2147483647)"), needed)
    for (finding,) in cursor:
        if finding != "ok":
            yield finding


def with_stand_ins(
    connection: sqlite3.Connection, statement: Callable[[], sqlite3.Cursor], needed: set[str]
) -> sqlite3.Cursor:
    """Run a statement with a stand-in for each collation and function that it lacks; their names go to `needed`."""
    for _ in range(STAND_INS):
        try:
            return statement()
        except sqlite3.OperationalError as error:
            missing = NEEDED.fullmatch(str(error).removesuffix("()"))
            if missing is None:
                raise
            needed.add(missing["name"] or missing["function"])
            _stand_in(connection, missing)
    return statement()


def _compute_nothing(connection: sqlite3.Connection) -> list[str]:
    """Put a stand-in in the place of every function, and return their names.

    A generated column's value can fail to be computed in a row that is sound, as json() does of what is no JSON.
    """
    functions = connection.execute("select distinct name, narg from pragma_function_list where type = 's'").fetchall()
    for name, arguments in functions:
        # One for any number would not be asked where there is one for just that number.
        connection.create_function(name, arguments, lambda *_: None, deterministic=True)
    # What the schema names is these now, which do nothing: SQLite would call them unsafe.
    connection.execute("pragma trusted_schema = on")
    return [name for name, _ in functions]


def _stand_in(connection: sqlite3.Connection, missing: re.Match[str]) -> None:
    if missing["collation"]:
        connection.create_collation(missing["name"], lambda one, other: (one > other) - (one < other))
    else:
        connection.create_function(missing["function"], -1, lambda *_: None, deterministic=True)
