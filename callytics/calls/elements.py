"""The elements of a call's result, checked against the tables that they go into before anything is sent there."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from psycopg2.extensions import AsIs
from psycopg2.extras import Json

from callytics.exceptions import InvalidAnalysis
from callytics.postgres import PostgreSQLManager
from callytics.postgres.sql import queries

SQL = queries(Path(__file__).with_name("manager.sql"))
DEFAULT = AsIs("DEFAULT")
LONGEST_NAME = 63
LARGEST = 2**63 - 1
# A NUL in JSON, which PostgreSQL can't store: an escape that is not itself escaped.
NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# How PostgreSQL prints the checks that a column's values are of a list, or between two bounds.
LISTED = re.compile(r"'((?:[^']|'')*)'::text")
BOUND = re.compile(r"(>=|<=) \(?'?(-?[0-9.]+)")


@dataclass(frozen=True)
class Column:
    """A column and what may stand in it."""

    name: str
    type: str
    required: bool
    allowed: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def convert(self, value: Any) -> Any:
        """Return the value as the driver takes it; raise ValueError with the reason why it can't be stored."""
        if value is None:
            if self.required:
                raise ValueError("is required")
            return None
        converted = CONVERTERS[self.type](value)
        if self.allowed and converted not in self.allowed:
            raise ValueError(f"must be one of {', '.join(self.allowed)}")
        if self.low is not None and self.high is not None and not self.low <= converted <= self.high:
            raise ValueError(f"must be between {self.low:g} and {self.high:g}")
        return converted


@dataclass(frozen=True)
class Elements:
    """What is accepted for a row of a table: its columns, some of them by a short name too."""

    table: str
    columns: Mapping[str, Column]
    aliases: Mapping[str, str]

    def check_all(self, elements: Any, name: str, known: frozenset[str]) -> list[dict[str, Any]]:
        """Return a list's elements by column; raise InvalidAnalysis with the index and field of the first bad one."""
        if not isinstance(elements, Sequence) or isinstance(elements, str | bytes):
            raise InvalidAnalysis(f"{name}: must be a list")
        return [self.check(element, f"{name}[{index}]", known) for index, element in enumerate(elements)]

    def check(
        self, element: Any, name: str, known: frozenset[str] = frozenset(), *, partly: bool = False
    ) -> dict[str, Any]:
        """Return one element by column; ``known`` columns are not its business, ``partly``: nothing is required."""
        if not isinstance(element, Mapping):
            raise InvalidAnalysis(f"{name}: must be a dict")
        row: dict[str, Any] = {}
        for field, value in element.items():
            column = self._column(field, name, known)
            if column.name in row:
                raise InvalidAnalysis(f"{name}.{field}: is given twice, as {column.name} too")
            row[column.name] = _checked(column, value, f"{name}.{field}")
        if not partly:
            self._require(row, name, known)
        return row

    def _column(self, field: Any, name: str, known: frozenset[str]) -> Column:
        column = self.columns.get(self.aliases.get(field, field)) if isinstance(field, str) else None
        if column is None or column.name in known:
            raise InvalidAnalysis(f"{unknown(field, 'field', name)}: use {', '.join(sorted(self.fields(known)))}")
        return column

    def _require(self, row: Mapping[str, Any], name: str, known: frozenset[str]) -> None:
        for column in self.columns.values():
            if column.required and column.name not in row and column.name not in known:
                raise InvalidAnalysis(f"{name}.{self._spelling(column.name)}: is required")

    def fields(self, known: frozenset[str]) -> set[str]:
        """Return the names that an element's fields may have, the short one where there is one."""
        return {self._spelling(column) for column in self.columns if column not in known}

    def _spelling(self, column: str) -> str:
        return next((alias for alias, name in self.aliases.items() if name == column), column)


def unknown(field: Any, kind: str, name: str = "") -> str:
    """Say that a field is none; what can't be a field's name may be anything, and is not shown."""
    if not isinstance(field, str) or not field.isidentifier() or len(field) > LONGEST_NAME:
        return f"{name or 'analysis'}: a {kind} has no name"
    return f"{name}{'.' if name else ''}{field}: there is no such {kind}"


def read_elements(postgres: PostgreSQLManager, aliases: Mapping[str, Mapping[str, str]]) -> dict[str, Elements]:
    """Return what the given tables take, as the database itself describes them."""
    columns: dict[str, dict[str, Column]] = {table: {} for table in aliases}
    for row in postgres.execute_query(SQL["columns"], {"tables": list(aliases)}):
        columns[row["table_name"]][row["name"]] = _described(row)
    return {table: Elements(table, columns[table], aliases[table]) for table in aliases}


def identifier(value: Any, name: str) -> int:
    """Return an id; raise InvalidAnalysis for what can't be one."""
    return int(_checked(Column(name, "int8", required=True), value, name))


def _described(row: Mapping[str, Any]) -> Column:
    check = row["check_definition"] or ""
    bounds = {sign: float(number) for sign, number in BOUND.findall(check)} if "length" not in check else {}
    allowed = tuple(text.replace("''", "'") for text in LISTED.findall(check)) if "ANY" in check else ()
    return Column(row["name"], row["type"], row["required"], allowed, bounds.get(">="), bounds.get("<="))


def _checked(column: Column, value: Any, name: str) -> Any:
    try:
        return column.convert(value)
    except ValueError as error:
        raise InvalidAnalysis(f"{name}: {error}") from None


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"must be a whole number, not {_kind(value)}")
    number = int(value)
    if not -LARGEST - 1 <= number <= LARGEST:
        raise ValueError("must be a whole number of 64 bits")
    return number


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"must be a number, not {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("must be a finite number") from None
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _reals(value: Any) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != 13:
        raise ValueError("must be a list of 13 numbers")
    return [_real(number) for number in value]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {_kind(value)}")
    _storable(value)
    if "\0" in value:
        raise ValueError("holds a NUL character, which PostgreSQL can't store")
    # A str of another class may have an adapter of its own, or none.
    return str.__str__(value)


def _storable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate)") from None


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false, not {_kind(value)}")


def _json(value: Any) -> Json:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("must be what JSON can hold, and no NaN") from None
    _storable(text)
    if NUL_IN_JSON.search(text):
        raise ValueError("holds a NUL character, which PostgreSQL can't store")
    return Json(value, dumps=partial(json.dumps, ensure_ascii=False))


def _day(value: Any) -> date:
    if isinstance(value, str):
        value = _parsed(date.fromisoformat, value, "a day such as 2026-03-31")
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError(f"must be a date, not {_kind(value)}")
    return value


def _instant(value: Any) -> datetime:
    if isinstance(value, str):
        value = _parsed(datetime.fromisoformat, value, "a time such as 2026-03-31T09:00:00+09:00")
    if not isinstance(value, datetime):
        raise ValueError(f"must be a datetime, not {_kind(value)}")
    if value.utcoffset() is None:
        raise ValueError("must have a time zone")
    return value


def _parsed(parse: Callable[[str], Any], text: str, example: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        raise ValueError(f"must be {example}") from None


def _kind(value: Any) -> str:
    return type(value).__name__


CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "int8": _whole,
    "float8": _real,
    "_float8": _reals,
    "text": _text,
    "bool": _flag,
    "jsonb": _json,
    "date": _day,
    "timestamptz": _instant,
}
