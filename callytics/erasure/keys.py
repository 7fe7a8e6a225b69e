"""The keys of all rows that go with a person, table by table, and what is done with these rows, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from psycopg2.extensions import connection as Connection

from callytics.erasure.sources import SourceTables
from callytics.importer.records.entries import MASK
from callytics.postgres.sql import Composed, Queries, literal
from callytics.schema.belongings import Belonging, personal

SQL = Queries(Path(__file__).with_name("erasure.sql"))
CONDITIONS = Queries(Path(__file__).with_name("conditions.sql"))
REJECTED, UNMAPPED = "imports.rejected", "imports.unmapped"


class Keys:
    """What goes with rows of one table: keys are gathered in temporary tables, parents first, and deleted in reverse.

    ``more`` are conditions, by table, of rows that no column of keys leads to. Commits nothing.
    """

    def __init__(self, connection: Connection, sources: SourceTables, more: dict[str, Composed]) -> None:
        self.connection, self.sources, self.more = connection, sources, more
        self.found: dict[str, Belonging] = {}

    def gather(self, table: str, ids: Sequence[int], *, hold: bool) -> None:
        """Find everything that goes with rows of a table; ``hold`` keeps others from adding to it meanwhile."""
        if hold:
            SQL.value(self.connection, "hold", {"ids": list(ids)}, table=table)
        for query in ("rejected_keys", "unmapped_keys"):
            SQL.run(self.connection, query)
        for one in personal():
            if one.table == table:
                self._start(one, ids)
            elif one.table in self.more or set(one.goes_with.values()) & set(self.found):
                self._follow(one)
        if "audio_files" in self.found:
            self._find_mentions()
        self.sources.find_unmapped(self.connection, list(self.found))

    def _start(self, one: Belonging, ids: Sequence[int]) -> None:
        self._make(one)
        SQL.run(self.connection, "start", {"ids": list(ids)}, keys=keys_of(one.table))
        if one.table == "audio_files":
            SQL.run(self.connection, "paths", keys=keys_of(one.table))

    def _make(self, one: Belonging) -> None:
        SQL.run(self.connection, "keys", keys=keys_of(one.table))
        self.found[one.table] = one

    def _follow(self, one: Belonging) -> None:
        if one.key is None:
            self.found[one.table] = one
            return
        parents = {column: table for column, table in one.goes_with.items() if table in self.found}
        self._make(one)
        for column, table in parents.items():
            parts = {"keys": keys_of(one.table), "parents": keys_of(table), "column": column, "key": one.key}
            SQL.run(self.connection, "belonging", table=one.table, **parts)
        if one.path and "audio_files" in self.found:
            parts = {"keys": keys_of(one.table), "column": one.path, "key": one.key}
            SQL.run(self.connection, "by_path", table=one.table, **parts)
        self.sources.find_rejected(self.connection, one, parents)

    def _find_mentions(self) -> None:
        SQL.run(self.connection, "mentions", keys=keys_of("audio_files"))
        for one, column in _mentions():
            SQL.run(self.connection, "mentioned", table=one.table, column=column, keys=f"erasing_in_{column}")

    def count_masked(self) -> Counter[str]:
        """Return how many rows stay and mention what goes, by table."""
        counted: Counter[str] = Counter()
        if "audio_files" in self.found:
            for one, column in _mentions():
                counted[one.table] += SQL.value(self.connection, "count_numbers", numbers=f"erasing_in_{column}")
        return counted

    def count(self) -> Counter[str]:
        """Return how many rows go, by table."""
        counted: Counter[str] = Counter()
        for one in self.found.values():
            if one.key:
                counted[one.table] += SQL.value(self.connection, "count", keys=keys_of(one.table))
            if condition := self._condition(one):
                counted[one.table] += SQL.value(self.connection, "count_of", table=one.table, condition=condition)
        for table, keys in ((REJECTED, "rejected"), (UNMAPPED, "unmapped")):
            counted[table] = SQL.value(self.connection, "count_numbers", numbers=f"erasing_{keys}")
        return counted

    def _condition(self, one: Belonging) -> Composed | None:
        """Return what rows are that no key tells apart; None where there are none."""
        conditions = [self.more[one.table]] if one.table in self.more else []
        if one.key is None:
            conditions += [
                CONDITIONS.text("belongs", self.connection, column=column, parents=keys_of(table))
                for column, table in one.goes_with.items()
                if table in self.found
            ]
        return Composed(" or ".join(conditions)) if conditions else None

    def remember(self, erasure: int) -> None:
        """Record which rows of imported files go, and count them no longer among those that are there."""
        for one in self.found.values():
            if one.key:
                values = {"table": one.table, "kind": "key", "erasure": erasure, "key": one.key, "columns": None}
                SQL.run(self.connection, "remember", values, keys=keys_of(one.table))
        for kind in ("rejected", "unmapped"):
            SQL.run(self.connection, "remember_numbers", {"erasure": erasure}, numbers=f"erasing_{kind}")
            SQL.run(self.connection, f"uncount_{kind}")
        SQL.run(self.connection, "uncount_loaded", {"erasure": erasure})
        SQL.run(self.connection, "forget_ids", {"erasure": erasure})

    def mask(self, erasure: int) -> None:
        """Mask what rows that stay mention: by ``MASK``, or by NULL where that is no text."""
        if "audio_files" not in self.found:
            return
        for one, column in _mentions():
            keys = f"erasing_in_{column}"
            values = {"table": one.table, "kind": "mask", "erasure": erasure, "key": one.key, "columns": [column]}
            SQL.run(self.connection, "remember", values, keys=keys)
            is_text = SQL.value(self.connection, "is_text", {"table": one.table, "column": column})
            mask = literal(MASK) if is_text else "null"
            SQL.run(self.connection, "mask_mentioned", table=one.table, column=column, keys=keys, mask=Composed(mask))

    def delete(self) -> None:
        """Delete the rows, children first; rows that stay no longer refer to them."""
        for one in personal():
            for column, table in one.cleared.items():
                if table in self.found:
                    SQL.run(self.connection, "clear", table=one.table, column=column, parents=keys_of(table))
        for one in reversed(self.found.values()):
            if condition := self._condition(one):
                SQL.run(self.connection, "delete_of", table=one.table, condition=condition)
            if one.key:
                SQL.run(self.connection, "delete", table=one.table, key=one.key, keys=keys_of(one.table))
        SQL.run(self.connection, "delete_rejected")
        SQL.run(self.connection, "delete_unmapped")


def _mentions() -> list[tuple[Belonging, str]]:
    return [(one, column) for one in personal() for column in one.mentions]


def keys_of(table: str) -> str:
    """Return the name of the temporary table with the keys of a table's rows."""
    return f"erasing_{table}"
