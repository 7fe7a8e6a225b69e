"""Whether PostgreSQL holds what an odd file holds: read by sqlite3 and psycopg2 alone, whatever the schema is."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection

from tests.support.independent import (
    KEPT,
    Home,
    Impossible,
    Text,
    becomes,
    decoded_row,
    differences,
    homes,
    raw_form,
    storage_class,
)
from tests.support.odd_files import FOREIGN, quoted, rename

CANONICAL = {name.lower(): name for name in (*KEPT, "Topic", "File", "Utterance", "audio_properties")}
Row = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """A row of imports.tables."""

    id: int
    target: str
    unmapped: frozenset[str]
    offsets: dict[str, int]
    source_rows: int


@dataclass(frozen=True)
class Rejected:
    """A row of imports.rejected."""

    column: str | None
    reason: str
    storage: str | None
    raw: bytes | None


def problems(file: Path, connection: Connection, run: int) -> list[str]:
    """Compare every value of a file with what an import left in PostgreSQL; return what is wrong."""
    with closing(sqlite3.connect(file, isolation_level=None)) as sqlite:
        sqlite.text_factory = Text
        # Python's sqlite3 takes no other name.
        rename(sqlite, FOREIGN[1], FOREIGN[0].encode())
    with closing(sqlite3.connect(file)) as sqlite:
        sqlite.text_factory = Text
        return list(OddCheck(sqlite, connection, run).problems())


class OddCheck:
    """One comparison. Names compare as in SQLite, and the types are PostgreSQL's own."""

    def __init__(self, sqlite: sqlite3.Connection, connection: Connection, run: int) -> None:
        self.sqlite, self.connection = sqlite, connection
        self.kept: dict[str, list[Kept]] = {}
        query = (
            "select t.source_table, t.id, t.target_table, t.unmapped_columns, t.offsets, t.source_rows "
            "from imports.tables t join imports.sources s on s.id = t.source_id where s.run_id = %s"
        )
        for table, number, target, unmapped, offsets, rows in self._all(query, run):
            columns = frozenset(map(_name, unmapped or ()))
            self.kept.setdefault(_name(table), []).append(Kept(number, target, columns, offsets, rows))

    def problems(self) -> Iterator[str]:
        """Yield everything that is wrong."""
        query = (
            "select name from sqlite_master "
            "where type = 'table' and rootpage > 0 and name not like 'sqlite@_%' escape '@'"
        )
        names = [name.decode() for (name,) in self.sqlite.execute(query)]
        yield from (f"{name!r} is recorded, but not in the file" for name in self.kept if name not in names)
        for name in names:
            yield from (f"{name!r}: {what}" for what in self._table(name))

    def _table(self, name: str) -> Iterator[str]:
        columns = list(self._readable(name))
        rows = self._rows(name, columns)
        kept = self.kept.get(name, [])
        mapped = [one for one in kept if one.target != "imports.unmapped"]
        unmapped = next((one.unmapped for one in kept if one not in mapped), frozenset())
        if lost := set(columns) - unmapped - (set(columns) if mapped else set()):
            yield f"columns {sorted(lost)} went nowhere"
        for one in kept:
            if one.source_rows != len(rows):
                yield f"{len(rows)} rows, {one.source_rows} recorded for {one.target}"
            if one in mapped:
                read = [column for column in columns if column not in unmapped]
                yield from self._mapped(name, one, read, rows)
            else:
                yield from self._unmapped(one, rows)

    def _readable(self, name: str) -> Iterator[str]:
        for _, column, *_ in self.sqlite.execute(f"pragma table_xinfo({quoted(name)})"):
            column = column.decode()
            with suppress(sqlite3.OperationalError):
                self.sqlite.execute(f"select {quoted(column)} from main.{quoted(name)} not indexed limit 0")
                yield column

    def _rows(self, name: str, columns: list[str]) -> list[Row]:
        select = ", ".join(map(quoted, columns))
        return [
            dict(zip(columns, values, strict=True))
            for values in self.sqlite.execute(f"select {select} from main.{quoted(name)} not indexed")
        ]

    def _unmapped(self, kept: Kept, rows: list[Row]) -> Iterator[str]:
        texts = self._all("select source_row::text from imports.unmapped where table_id = %s", kept.id)
        found = Counter(
            identity({_name(name): value for name, value in decoded_row(text).items()}) for (text,) in texts
        )
        wanted = Counter(identity({name: row[name] for name in kept.unmapped}) for row in rows)
        if found != wanted:
            yield f"imports.unmapped differs: {list(wanted - found)[:2]} became {list(found - wanted)[:2]}"[:600]

    def _mapped(self, name: str, kept: Kept, read: list[str], rows: list[Row]) -> Iterator[str]:
        home = self._home(name, kept.target, read)
        types = self._types(kept.target)
        # What another target of the same table takes is read there.
        columns = {column: home.columns[column.lower()] for column in read if column.lower() in home.columns}
        columns = {column: target for column, target in columns.items() if target.partition("[")[0] in types}
        there = self._there(kept.target, home.key, types)
        rejected, shared = self._rejected(kept), self._shared(kept, home.key)
        loaded = elsewhere = 0
        for row in rows:
            own = identity({column.lower(): row[column] for column in columns})
            if rejected.get(own):
                yield from self._wrong(row, rejected[own].pop(), columns, types)
                continue
            if shared[own]:
                shared[own] -= 1
                elsewhere += 1
                continue
            loaded += 1
            yield from self._loaded(row, columns, types, kept, home, there)
        if left := [one for found in rejected.values() for one in found]:
            yield f"{len(left)} rows are in imports.rejected, but not in the file so: {left[:2]}"
        query = (
            "select coalesce(sum(copied + inserted), 0), coalesce(sum(rejected), 0) "
            "from imports.chunks where table_id = %s"
        )
        if (counted := self._all(query, kept.id)[0]) != (loaded, len(rows) - loaded - elsewhere):
            yield f"{loaded} of {len(rows)} rows are there, {elsewhere} shared, counted are {counted}"

    def _home(self, name: str, target: str, read: list[str]) -> Home:
        canonical = CANONICAL[name.lower()]
        for home in homes(canonical, [column.lower() for column in read]):
            if home.target == target:
                return Home(target, home.key, {column.lower(): to for column, to in home.columns.items()})
        raise AssertionError(f"{name} does not go to {target}")

    def _loaded(
        self,
        row: Row,
        columns: dict[str, str],
        types: dict[str, str],
        kept: Kept,
        home: Home,
        there: dict[int, list[Row]],
    ) -> Iterator[str]:
        expected = {}
        kinds = {target: types[target.partition("[")[0]].removesuffix("[]") for target in columns.values()}
        for column, target in columns.items():
            try:
                value = becomes(row[column], kinds[target])
            except Impossible:
                yield f"{column} {row[column]!r} was loaded, though nothing can hold it"
                return
            offset = kept.offsets.get(target, 0)
            expected[target] = value + offset if offset and value is not None else value
        found = there.get(expected.get(home.key), [])
        if not found:
            yield f"row {identity(row)!r} is missing"[:500]
            return
        yield from (what[:500] for what in differences(expected, found.pop(), kinds))

    def _there(self, target: str, key: str, types: dict[str, str]) -> dict[int, list[Row]]:
        select = ", ".join(f'"{name}"::text' if kind == "jsonb" else f'"{name}"' for name, kind in types.items())
        found: dict[int, list[Row]] = {}
        for values in self._all(f"select {select} from public.{target}"):
            row = dict(zip(types, values, strict=True))
            found.setdefault(row[key], []).append(row)
        return found

    def _types(self, target: str) -> dict[str, str]:
        query = (
            "select attname, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = to_regclass('public.' || %s) and attnum > 0 and not attisdropped"
        )
        return dict(self._all(query, target))

    def _shared(self, kept: Kept, key: str) -> Counter[Any]:
        """Return the rows in whose place an equal one is there, another's or an earlier one of the same table."""
        query = (
            f"select s.source_row::text from imports.shared s join public.{kept.target} t on t.{key} = s.target_id "
            f"where s.table_id = %s and to_jsonb(t) @> (s.target_row - array['{key}', 'created_at', 'updated_at'])"
        )
        rows = (decoded_row(text) for (text,) in self._all(query, kept.id))
        return Counter(identity({_name(name).lower(): value for name, value in row.items()}) for row in rows)

    def _rejected(self, kept: Kept) -> dict[Any, list[Rejected]]:
        columns = "source_column, reason, storage_class, raw, source_row::text"
        found: dict[Any, list[Rejected]] = {}
        for column, reason, storage, raw, row in self._all(
            f"select {columns} from imports.rejected where table_id = %s", kept.id
        ):
            key = identity({_name(name).lower(): value for name, value in decoded_row(row).items()})
            found.setdefault(key, []).append(Rejected(column, reason, storage, None if raw is None else bytes(raw)))
        return found

    def _wrong(self, row: Row, kept: Rejected, columns: dict[str, str], types: dict[str, str]) -> Iterator[str]:
        """Yield what is wrong with a rejection: the record, or that nothing could excuse it."""
        if kept.column is None:
            return
        column = next(name for name in row if name.lower() == kept.column.lower())
        value = row[column]
        if (kept.storage, kept.raw) != (storage_class(value), raw_form(value)):
            yield f"{column} {value!r} is kept as {kept.storage} {kept.raw!r}"
        kind = types[columns[column].partition("[")[0]].removesuffix("[]")
        if plainly_fits(value, kind) and not re.search("earlier row|once moved", kept.reason):
            yield f"{column} {value!r} was rejected by {kind}: {kept.reason}"

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute("set timezone = 'UTC'")
            cursor.execute(query, values or None)
            return cursor.fetchall()


def _name(recorded: str) -> str:
    """Return a name as it is in the copy, by how records write bytes that are no UTF-8."""
    return recorded.replace("".join(f"\\x{byte:02x}" for byte in FOREIGN[1]), FOREIGN[0])


def plainly_fits(value: Any, kind: str) -> bool:
    """Tell whether a value is of its column's own kind, so that nothing could excuse a rejection."""
    classes: dict[str, tuple[type, ...]] = {
        "bigint": (int,),
        "double precision": (float,),
        "text": (Text,),
        "jsonb": (Text, int, float),
    }
    if value is None or kind == "boolean":
        return value in (None, 0, 1)
    if not isinstance(value, classes.get(kind, ())):
        return False
    try:
        becomes(value, kind)
    except Impossible:
        return False
    return True


def identity(row: Row) -> tuple[tuple[str, str, str], ...]:
    """Return a row so that it is equal only to one with the same values of the same storage classes."""
    return tuple(
        (name, storage_class(value), repr(bytes(value) if isinstance(value, bytes) else value))
        for name, value in sorted(row.items())
    )
