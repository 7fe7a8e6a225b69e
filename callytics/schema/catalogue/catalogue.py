"""What a database consists of, compared with what the migrations make of an empty one.

``catalogue.json`` holds the latter; ``python -m scripts.catalogue --update`` writes it after a migration was added. It
names no role and no database, and the months of a partitioned table are compared with its default partition. What an
optional migration makes is expected where any of it is found.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection

from callytics.postgres.sql import Queries
from callytics.schema import versions

SQL = Queries(Path(__file__).with_suffix(".sql"))
EXPECTED = Path(__file__).with_suffix(".json")
# What belongs to a table of ours concerns us whoever has made it; tables and routines of others may stand beside.
OF_TABLES = ("vacuuming", "column", "constraint", "index", "trigger", "rule", "partition")
MONTH = re.compile(r"(?P<table>.+)_(?P<year>[1-9]\d{3})_(?P<month>0[1-9]|1[0-2])")
# How a month that is over is vacuumed: as one that is written to, as one that was frozen, or as before both.
FROZEN = "autovacuum_freeze_min_age=0"
# What PostgreSQL's versions write in different ways: tables' names before columns', and parentheses.
SPELLING = re.compile(r"\b\w+\.(?=\w)|[\s()]+")


@dataclass(frozen=True)
class Part:
    """A part of a schema: of a table, ``relation``, or by itself. Names are as PostgreSQL quotes them."""

    kind: str
    relation: str
    name: str
    definition: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is recognised by."""
        return self.kind, self.relation, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" of {self.relation}" if self.relation not in ("", self.name) else "")


@cache
def required_columns(table: str) -> frozenset[str]:
    """Return the columns of a table that have to be given a value."""
    columns = (part for part in expected().parts if (part.kind, part.relation) == ("column", table))
    return frozenset(part.name.strip('"') for part in columns if part.definition.endswith(" not null"))


@dataclass(frozen=True)
class Difference:
    """A part that is not as the migrations make it; ``found`` is None for a missing one, ``made`` for an added one."""

    made: Part | None
    found: Part | None

    @property
    def there(self) -> Part:
        """The part that was found, or else the one that is missing."""
        found = self.found or self.made
        assert found is not None
        return found

    def __str__(self) -> str:
        if self.made is None:
            return f"{self.found} was made by no migration"
        if self.found is None:
            return f"{self.made} is missing" if self.made.kind != "partition" else f"{self.made} is not attached"
        if self.made.kind in ("routine", "view"):
            return f"{self.made} is not what the migrations make"
        return f"{self.made} is {self.found.definition}, not {self.made.definition}"


Parts = dict[tuple[str, str, str], Part]


@dataclass(frozen=True)
class Contents:
    """What a database consists of: its parts, the table of each partition, and the server's major version.

    ``optional`` are the parts of each migration that can be left out, where these are what a database may consist of.
    """

    server: int
    parts: tuple[Part, ...]
    partitions: dict[str, str]
    optional: tuple[tuple[Part, ...], ...] = ()

    @classmethod
    def of(cls, connection: Connection) -> Contents:
        """Read a database's catalogue; the session must be settled, as every one of ours is."""
        rows = SQL.rows(connection, "contents")
        parts = tuple(Part(*row[:4]) for row in rows)
        return cls(SQL.value(connection, "server"), parts, {row[1]: row[4] for row in rows if row[4]})


@cache
def expected() -> Contents:
    """Return what the migrations make of an empty database."""
    found: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    optional = tuple(tuple(Part(*part) for part in parts) for parts in found["optional"].values())
    return Contents(found["server"], tuple(Part(*part) for part in found["parts"]), found["partitions"], optional)


def digest() -> str:
    """Return a checksum of all migrations, by which a test without a server sees that the file is not of these."""
    files = versions.migrations() | versions.optional()
    contents = [f"{name} {versions.sha256(path)}" for name, path in files.items()]
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def text_of(contents: Contents, optional: Mapping[str, Contents]) -> str:
    """Return the text of the file from which `expected` reads, a line a part; months are left out: they go by today.

    ``optional`` are the contents with each optional migration applied as well.
    """
    months = {name for name, table in contents.partitions.items() if re.fullmatch(rf"{table}_\d{{4}}_\d\d", name)}
    partitions = {name: table for name, table in contents.partitions.items() if name not in months}
    lasting = [part for part in contents.parts if part.relation not in months]
    parts = [json.dumps([p.kind, p.relation, p.name, p.definition], ensure_ascii=False) for p in lasting]
    added = {
        name: [[p.kind, p.relation, p.name, p.definition] for p in more.parts if p not in contents.parts]
        for name, more in optional.items()
    }
    facts = {"migrations": digest(), "server": contents.server, "partitions": partitions, "optional": added}
    head = json.dumps(facts, indent=1)[:-2] + ',\n"parts": [\n'
    return head + ",\n".join(parts) + "\n]}\n"


def differences(found: Contents, deferred: Collection[tuple[str, str]] = ()) -> list[Difference]:
    """Return what is not as the migrations make it; what an import has ``deferred``, (table, name), may be missing."""
    here = _by_key(found.parts)
    optional = (part for parts in expected().optional if any(one.key in here for one in parts) for part in parts)
    made = _by_key([*expected().parts, *optional, *_of_months(found)])
    exact = found.server == expected().server
    return [
        *(Difference(part, None) for part in _missing(made, here, deferred)),
        *(
            Difference(part, here[key])
            for key, part in made.items()
            if key in here and not _is_same(part, here[key], exact)
        ),
        *(Difference(None, part) for part in _unknown(made, here)),
    ]


def check(connection: Connection) -> list[Difference]:
    """Return what is missing or different, for whoever owns the tables; what others added is no reason to stop."""
    deferred = [(table, name) for _run, table, name in SQL.rows(connection, "deferred")]
    found = differences(Contents.of(connection), deferred)
    # How partitions are vacuumed is an operator's to change.
    return [one for one in found if one.made and one.made.kind != "vacuuming"]


def ours(found: Contents) -> list[str]:
    """Return the names of what the migrations have made, partitions included, that an owner owns."""
    made = {part.name for part in expected().parts if part.kind in ("table", "view", "sequence", "routine")}
    return [*made, *found.partitions]


@cache
def migration_of(name: str) -> str:
    """Return which migration has made a table, view or routine as it is now; its name may have arguments."""
    plain = re.escape(re.sub(r"\(.*|_default$|_\d{4}_\d\d$", "", name))
    made = re.compile(rf"create (?:or replace )?(?:table|view|function|procedure)\s+(?:if not exists )?{plain}\b")
    files = versions.migrations() | versions.optional()
    return [one for one, path in files.items() if made.search(path.read_text(encoding="utf-8"))][-1]


def _by_key(parts: Iterable[Part]) -> Parts:
    return {part.key: part for part in parts}


def _of_months(found: Contents) -> Iterator[Part]:
    """Yield what each month of a partitioned table consists of, attached or not: what its default partition does."""
    fallbacks = {table: fallback for fallback, table in expected().partitions.items()}
    for one in found.parts:
        month = MONTH.fullmatch(one.name) if one.kind == "table" else None
        if month and (fallback := fallbacks.get(month["table"])):
            first = date(int(month["year"]), int(month["month"]), 1)
            yield from (
                _of_month(part, fallback, one.name, first) for part in expected().parts if part.relation == fallback
            )


def _of_month(part: Part, fallback: str, partition: str, first: date) -> Part:
    definition = part.definition.replace(fallback, partition)
    if part.kind == "partition":
        after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
        definition = f"FOR VALUES FROM ('{first} 00:00:00+00') TO ('{after} 00:00:00+00')"
    return replace(part, relation=partition, name=part.name.replace(fallback, partition), definition=definition)


def _missing(made: Parts, here: Parts, deferred: Collection[tuple[str, str]]) -> Iterator[Part]:
    for key, part in made.items():
        # A table that is missing is one difference, and not one for each of its parts; a sequence goes with its column.
        has_place = part.kind in ("table", "view", "routine") or ("table", part.relation, part.relation) in here
        is_away = (part.relation, part.name.strip('"')) in deferred or _may_be_frozen(part)
        if key not in here and has_place and not is_away and part.kind != "sequence":
            yield part


def _unknown(made: Parts, here: Parts) -> Iterator[Part]:
    for key, part in here.items():
        is_ours = part.kind in OF_TABLES and ("table", part.relation, part.relation) in made
        is_added = part.kind == "partition" and key not in made
        if key not in made and (is_ours or is_added or part.kind == "event trigger"):
            yield part


def _may_be_frozen(part: Part) -> bool:
    month = MONTH.fullmatch(part.relation) if part.kind == "vacuuming" else None
    return month is not None and f"{month['year']}-{month['month']}" < f"{datetime.now(UTC):%Y-%m}"


def _is_same(made: Part, found: Part, exact: bool) -> bool:
    if _may_be_frozen(made) and found.definition == FROZEN:
        return True
    if made.kind == "view" and not exact:
        return SPELLING.sub("", made.definition) == SPELLING.sub("", found.definition)
    return made.definition == found.definition
