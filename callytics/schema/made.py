"""What a migration makes, as its text says it: by that, what a killed run left half done is told from what is whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from yoyo.migrations import Migration

CREATED = {
    "relation": re.compile(r"^create (?:or replace )?(?:table|view) (?:if not exists )?([\w.]+)", re.MULTILINE),
    "routine": re.compile(r"^create (?:or replace )?(?:function|procedure) ([\w.]+)\(", re.MULTILINE),
}
TABLE = re.compile(r"^create table (?:if not exists )?(?!if )([\w.]+) (?!partition of)", re.MULTILINE)
COLUMN = re.compile(r"^alter table ([\w.]+)\s+add column (?:if not exists )?(\w+)", re.MULTILINE)
CREATED_INDEX = re.compile(r"^create index (concurrently )?if not exists (\w+)\s+on (\w+)", re.MULTILINE)


def created(migration: Migration) -> Iterator[tuple[str, str]]:
    """Yield every table, view and routine that a migration creates, after the query that tells whether it is there."""
    text = Path(migration.path).read_text(encoding="utf-8")
    for name in CREATED["relation"].findall(text):
        yield "relation_exists", name
    for name in CREATED["routine"].findall(text):
        yield "routine_exists", name


def relations(migration: Migration) -> list[str]:
    """Return every table and view that a migration creates; routines are replaced."""
    return [name for query, name in created(migration) if query == "relation_exists"]


def indexes(migration: Migration) -> list[tuple[str, str, str]]:
    """Return of every index that a migration builds how (concurrently, or ""), its name and its table."""
    return CREATED_INDEX.findall(Path(migration.path).read_text(encoding="utf-8"))


def tables(path: Path) -> list[str]:
    """Return every table that a migration's file creates, each with its partitions as one."""
    return TABLE.findall(path.read_text(encoding="utf-8"))


def columns(path: Path) -> list[tuple[str, str]]:
    """Return every column that a migration's file adds to a table that was there, after the table's name."""
    return COLUMN.findall(path.read_text(encoding="utf-8"))
