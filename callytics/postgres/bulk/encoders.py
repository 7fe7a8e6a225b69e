"""Python values as Arrow arrays that mean exactly the same to PostgreSQL.

Arrow would silently cast some values (1.5 to 1, bytes to text, a time without a zone to UTC, a time to its day). These
are refused by their Python type before Arrow sees them.
"""

from __future__ import annotations

import enum
import json
import numbers
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
from psycopg.types.json import Json, Jsonb

# PostgreSQL counts days and microseconds from here.
# https://www.postgresql.org/docs/15/datatype-datetime.html
FIRST_DAY = date(2000, 1, 1)
FIRST_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)
FIRST_WALL_TIME = datetime(2000, 1, 1)

NONE = type(None)

Values = Sequence[Any]


class Refused(TypeError):
    """A value whose type does not belong in the column."""


@dataclass(frozen=True)
class Encoder:
    """How a column's values become an Arrow array.

    Values of the type ``plain`` go to Arrow unchanged or, if the encoder has a ``shortcut`` and no value is None,
    through that. All others go through ``convert``, which raises TypeError or ValueError for a value that does not
    belong in the column.
    """

    name: str
    type: pa.DataType
    convert: Callable[[Any], Any]
    plain: type | None = None
    shortcut: Callable[[Any], Any] | None = None

    def encode(self, values: Values) -> pa.Array:
        """Return the array; raises TypeError, ValueError, OverflowError, or Arrow's subclasses of these."""
        # By exact type: a subclass (bool of int, IntEnum) may mean something else, which `convert` judges.
        types = set(map(type, values))
        if self.shortcut is None and types <= {self.plain, NONE}:
            return pa.array(values, self.type)
        convert = self.shortcut if self.shortcut is not None and types == {self.plain} else self.convert
        if NONE not in types:
            return pa.array(list(map(convert, values)), self.type)
        return pa.array([None if value is None else convert(value) for value in values], self.type)

    def first_wrong(self, values: Values) -> tuple[int, str]:
        """Return the index of the first value that can't be encoded and the reason, which does not quote it."""
        for index, value in enumerate(values):
            try:
                pa.array([None if value is None else self.convert(value)], self.type)
            except Refused as error:
                return index, f"{type(value).__name__} {error}"
            except (TypeError, ValueError, OverflowError):
                return index, f"{type(value).__name__} does not fit into {self.name}"
        raise AssertionError("every value can be encoded")


def binary_encoder(type_name: str, is_array: bool) -> Encoder | None:
    """Return the encoder into a type's binary form; None if we don't have that form."""
    return None if is_array else BINARY.get(type_name)


def text_encoder(type_name: str, is_array: bool) -> Encoder:
    """Return the encoder into PostgreSQL's text form, which every type has."""
    convert = TEXTS.get(type_name, _other_text)
    return Encoder(type_name, pa.string(), _array_text(convert) if is_array else convert)


def _whole(value: Any) -> int:
    # bool is a subclass of int, but True is no number.
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise Refused("is not a whole number")
    return operator.index(value)


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise Refused("is not a float")
    number = float(value)
    # NaN, which is not even equal to itself, is a float like any other.
    if number != value and value == value:
        raise Refused("can't be stored exactly as a float")
    return number


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused("is not a bool")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused("is not a str")
    # A subclass may override __str__.
    return str.__str__(value)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise Refused("is not bytes")
    return bytes(value)


def _uuid(value: Any) -> UUID:
    if not isinstance(value, UUID):
        raise Refused("is not a UUID")
    return value


def _day(value: Any) -> date:
    # datetime is a subclass of date: its time of day would be lost.
    if isinstance(value, datetime) or not isinstance(value, date):
        raise Refused("is not a date")
    return value


def _instant(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise Refused("is not a datetime with a time zone")
    return value


def _wall_time(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise Refused("is not a datetime without a time zone")
    return value


def _time(value: Any) -> time:
    if not isinstance(value, time):
        raise Refused("is not a time")
    return value


def _since_first_instant(value: Any) -> timedelta:
    return _instant(value) - FIRST_INSTANT


def _since_first_wall_time(value: Any) -> timedelta:
    return _wall_time(value) - FIRST_WALL_TIME


def _minus(begin: datetime) -> Callable[[Any], Any]:
    """Return a function in C that subtracts this from a datetime; TypeError if only one of the two has a zone."""
    subtract: Callable[[Any], Any] = begin.__rsub__  # type: ignore[attr-defined]
    return subtract


def _json(value: Any) -> str:
    if isinstance(value, Json | Jsonb):
        if value.dumps is not None:
            return str(value.dumps(value.obj))
        value = value.obj
    try:
        # Python would write NaN and Infinity, which are not JSON, and which PostgreSQL refuses.
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise Refused("is not JSON") from None


def _number_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Refused("is not a number")
    # repr gives the shortest text that reads back as the same double.
    return repr(float(value)) if isinstance(value, float) else str(value)


def _interval_text(value: Any) -> str:
    if not isinstance(value, timedelta):
        raise Refused("is not a timedelta")
    return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"


def _enum_text(value: Any) -> str:
    return _text(value.value if isinstance(value, enum.Enum) else value)


def _other_text(value: Any) -> str:
    """Return the text of a value for a type without an encoder of its own, such as an address or a range."""
    if isinstance(value, bool | float | bytes | bytearray | dict | list | tuple | set | date):
        raise Refused("is not a str")
    return str(value)


def _array_text(convert: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return what writes a list as https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO."""

    def array(value: Any) -> str:
        if not isinstance(value, list | tuple):
            raise Refused("is not a list")
        return "{" + ",".join(elements(value)) + "}"

    def elements(values: Values) -> Iterator[str]:
        for value in values:
            if value is None:
                yield "NULL"
            elif isinstance(value, list | tuple):
                yield array(value)
            else:
                yield '"' + convert(value).replace("\\", "\\\\").replace('"', '\\"') + '"'

    return array


def _each(names: str, encoder: Callable[[str], Any]) -> dict[str, Any]:
    return {name: encoder(name) for name in names.split()}


# Types whose binary form is a fixed number of bytes or plain bytes. numeric, interval and arrays have forms with
# several parts, and what Arrow would round to a float4 is written as text.
BINARY: Mapping[str, Encoder] = {
    "bool": Encoder("bool", pa.bool_(), _bool, bool),
    "int2": Encoder("int2", pa.int16(), _whole, int),
    "int4": Encoder("int4", pa.int32(), _whole, int),
    "int8": Encoder("int8", pa.int64(), _whole, int),
    "float8": Encoder("float8", pa.float64(), _real, float),
    "date": Encoder("date", pa.int32(), lambda value: (_day(value) - FIRST_DAY).days),
    "timestamp": Encoder("timestamp", pa.duration("us"), _since_first_wall_time, datetime, _minus(FIRST_WALL_TIME)),
    "timestamptz": Encoder("timestamptz", pa.duration("us"), _since_first_instant, datetime, _minus(FIRST_INSTANT)),
    "bytea": Encoder("bytea", pa.binary(), _bytes, bytes),
    "uuid": Encoder("uuid", pa.binary(), lambda value: _uuid(value).bytes),
    "json": Encoder("json", pa.string(), _json),
    # The version of its binary form comes first.
    "jsonb": Encoder("jsonb", pa.string(), lambda value: "\x01" + _json(value)),
    "enum": Encoder("enum", pa.string(), _enum_text),
    **_each("text varchar bpchar name", lambda name: Encoder(name, pa.string(), _text, str)),
}
TEXTS: Mapping[str, Callable[[Any], str]] = {
    "bool": lambda value: "true" if _bool(value) else "false",
    "bytea": lambda value: "\\x" + _bytes(value).hex(),
    "date": lambda value: _day(value).isoformat(),
    "enum": _enum_text,
    "interval": _interval_text,
    "numeric": _number_text,
    "timestamp": lambda value: _wall_time(value).isoformat(),
    "timestamptz": lambda value: _instant(value).isoformat(),
    "uuid": lambda value: str(_uuid(value)),
    **_each("int2 int4 int8", lambda name: lambda value: str(_whole(value))),
    **_each("float4 float8", lambda name: lambda value: repr(_real(value))),
    **_each("json jsonb", lambda name: _json),
    **_each("text varchar bpchar name citext", lambda name: _text),
    **_each("time timetz", lambda name: lambda value: _time(value).isoformat()),
}
