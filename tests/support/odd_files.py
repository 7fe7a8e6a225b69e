"""Odd SQLite files: what other programs, other versions and accidents make of a database, written by a description."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER_RESERVED, FIRST_PAGE_CONTENT = 20, 105
"""Where a file says how many bytes of each page are not SQLite's, and where the first page's content begins."""


FOREIGN = ("CP949_08", "메모비고".encode("cp949"))
"""A name that Python's sqlite3 can write, and what a file holds in its place: a name in bytes that are no UTF-8."""


class Text(bytes):
    """TEXT by its bytes, which need not be valid in the file's encoding."""


@dataclass(frozen=True)
class OddTable:
    """A table: the statements before its rows, the columns that are written, the rows, and statements after them."""

    name: str
    before: tuple[str, ...]
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Damage:
    """What happened to a file: a kind, and places in it as thousandths of its length."""

    kind: str
    places: tuple[int, ...] = ()
    content: bytes = b""


@dataclass(frozen=True, repr=False)
class OddFile:
    """A file. ``journal`` is how it was left: delete, wal (idle), uncheckpointed (frames in the WAL), or hot."""

    tables: tuple[OddTable, ...]
    page_size: int = 4096
    encoding: str = "UTF-8"
    auto_vacuum: int = 0
    reserved: int = 0
    user_version: int = 0
    application_id: int = 0
    journal: str = "delete"
    freelist: bool = False
    damage: Damage | None = None
    locked: bool = False
    name: bytes = b"odd.sqlite"

    def __repr__(self) -> str:
        # Some values are long: whoever wants to see them has the file.
        rows = ", ".join(f"{table.name[:20]!r}: {len(table.rows)}" for table in self.tables)
        damage = self.damage.kind if self.damage else None
        return f"OddFile({rows}, {self.page_size}, {self.encoding}, {self.journal}, {damage})"


def write_odd(path: Path, odd: OddFile) -> None:
    """Write a file, and beside it what its journal mode leaves there. What SQLite refuses of it is left out."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "made.sqlite"
        _begin(made, odd)
        with closing(sqlite3.connect(made, isolation_level=None)) as sqlite:
            sqlite.execute("pragma ignore_check_constraints = on")
            if odd.journal in ("wal", "uncheckpointed"):
                sqlite.execute("pragma journal_mode = wal")
            if odd.journal == "uncheckpointed":
                sqlite.execute("pragma wal_autocheckpoint = 0")
            for table in odd.tables:
                _write_table(sqlite, table)
            if odd.encoding == "UTF-8" and not odd.damage:
                rename(sqlite, FOREIGN[0].encode(), FOREIGN[1])
            _free_pages(sqlite, odd)
            if odd.journal == "hot":
                _leave_journal(sqlite)
            if odd.journal in ("uncheckpointed", "hot"):
                _copy(made, path, ("", "-wal", "-journal"))
        if odd.journal not in ("uncheckpointed", "hot"):
            _copy(made, path, ("",))
    if odd.damage:
        path.write_bytes(_damaged(path.read_bytes(), odd.damage))


def _begin(path: Path, odd: OddFile) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as sqlite:
        sqlite.execute(f"pragma page_size = {odd.page_size}")
        sqlite.execute(f"pragma encoding = '{odd.encoding}'")
        sqlite.execute(f"pragma auto_vacuum = {odd.auto_vacuum}")
        # Something has to be written, or there would be no page yet.
        sqlite.execute("create table one (two)")
        sqlite.execute("drop table one")
        sqlite.execute("vacuum")
        sqlite.execute(f"pragma user_version = {odd.user_version}")
        sqlite.execute(f"pragma application_id = {odd.application_id}")
    if odd.reserved:
        # Python has no way to sqlite3_file_control(SQLITE_FCNTL_RESERVE_BYTES); an empty first page can be changed.
        page = bytearray(path.read_bytes())
        page[HEADER_RESERVED] = odd.reserved
        usable = odd.page_size - odd.reserved
        page[FIRST_PAGE_CONTENT : FIRST_PAGE_CONTENT + 2] = (usable % 65536).to_bytes(2, "big")
        path.write_bytes(page)


def _write_table(sqlite: sqlite3.Connection, table: OddTable) -> None:
    for statement in table.before:
        with suppress(sqlite3.Error):
            sqlite.execute(statement)
    sqlite.execute("begin")
    names = ", ".join(map(quoted, table.columns))
    for row in table.rows:
        marks = ", ".join("cast(? as text)" if isinstance(value, Text) else "?" for value in row)
        # STRICT, NOT NULL and UNIQUE refuse some.
        with suppress(sqlite3.Error):
            sqlite.execute(f"insert into {quoted(table.name)} ({names}) values ({marks})", row)
    # Some errors, such as those of a virtual table, end the transaction.
    if sqlite.in_transaction:
        sqlite.execute("commit")
    for statement in table.after:
        with suppress(sqlite3.Error):
            sqlite.execute(statement)


def rename(sqlite: sqlite3.Connection, name: bytes, other: bytes) -> None:
    """Give what has one name, or has it in its statement, another of the same length, which need not be UTF-8."""
    replaced = "{0} = cast(replace(cast({0} as blob), ?1, ?2) as text)"
    changes = ", ".join(map(replaced.format, ("name", "tbl_name", "sql")))
    # The index of a key has no statement, but the table's name.
    found = "instr(cast(sql as blob), ?1) or instr(cast(tbl_name as blob), ?1)"
    sqlite.execute("pragma writable_schema = on")
    # Only where there is something to change: a schema that was written to is another file.
    sqlite.execute(f"update sqlite_master set {changes} where {found}", (name, other))
    sqlite.execute("pragma writable_schema = off")


def change(path: Path, odd: OddFile) -> None:
    """Change, remove and add rows of a file's tables, as an application goes on; what SQLite refuses is left out."""
    with closing(sqlite3.connect(path, isolation_level=None)) as sqlite:
        for table in odd.tables:
            name, first, last = (quoted(one) for one in (table.name, table.columns[0], table.columns[-1]))
            others = ", ".join(map(quoted, table.columns[1:])) or first
            for statement in (
                f"delete from {name} where {first} in (select {first} from {name} limit 1)",
                f"update {name} set {last} = 'changed ' || {last} where rowid % 2",
                f"update {name} set {others.split(', ')[0]} = 7 where rowid % 3 = 0",
                f"insert into {name} ({others}) select {others} from {name} limit 2",
            ):
                # Python's module fails on a message of SQLite's that quotes a damaged name.
                with suppress(sqlite3.Error, UnicodeDecodeError):
                    sqlite.execute(statement)


def _free_pages(sqlite: sqlite3.Connection, odd: OddFile) -> None:
    if odd.freelist:
        sqlite.execute('create table "gone and empty" as select zeroblob(3000) as b union all select zeroblob(9000)')
        sqlite.execute('drop table "gone and empty"')


def _leave_journal(sqlite: sqlite3.Connection) -> None:
    """Leave a transaction open of which pages are in the file already."""
    sqlite.execute("pragma cache_size = 1")
    sqlite.execute("begin")
    sqlite.execute('create table "never committed" (a)')
    sqlite.executemany('insert into "never committed" values (zeroblob(?))', [(5000,)] * 60)


def _copy(made: Path, path: Path, suffixes: Iterable[str]) -> None:
    for suffix in suffixes:
        source = made.with_name(made.name + suffix)
        if source.exists():
            shutil.copyfile(source, path.with_name(path.name + suffix))


def _damaged(content: bytes, damage: Damage) -> bytes:
    places = [len(content) * place // 1000 for place in damage.places]
    if damage.kind == "truncated":
        return content[: places[0]]
    if damage.kind == "trailing":
        return content + damage.content
    if damage.kind == "replaced":
        return damage.content
    changed = bytearray(content)
    for place, byte in zip(places, damage.content * len(places), strict=False):
        if damage.kind == "header":
            place %= 100
        if place < len(changed):
            changed[place] ^= byte or 255
    if damage.kind == "zeroed" and places:
        changed[places[0] : places[0] + 512] = bytes(len(changed[places[0] : places[0] + 512]))
    return bytes(changed)


def quoted(name: str) -> str:
    """Return a name as SQLite takes it."""
    return '"' + name.replace('"', '""') + '"'
