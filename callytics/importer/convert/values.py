"""One SQLite value into the PostgreSQL type of its column: exactly, by a named normalisation, or not at all.

The rules are written twice, for one value (`convert`) and for a whole Arrow column (`convert_column`); the second
only knows what needs no normalisation and marks everything else for the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

ARRAY_LENGTH = re.compile(r"^(?P<name>\w+)\[(?P<position>\d+)\]$")

# A number in a DATETIME column is taken for an epoch only between 1973 and 5138: 2024 is a year, not a second.
EPOCH_SECONDS = range(100_000_000, 100_000_000_000)
EPOCH_MILLISECONDS = range(100_000_000_000, 100_000_000_000_000)
LARGEST_BIGINT = 2**63 - 1
LARGE_VALUE_BYTES = 16 * 1024 * 1024


class Text(bytes):
    """TEXT as SQLite stores it: bytes that should be UTF-8 but need not be."""

    def decoded(self) -> str:
        """Return the string; `Unfit` when PostgreSQL's text cannot hold it."""
        try:
            text = self.decode()
        except UnicodeDecodeError as error:
            raise Unfit("text is not valid UTF-8") from error
        if "\0" in text:
            raise Unfit("text contains a NUL character, which PostgreSQL cannot store")
        return text


class Unfit(Exception):
    """The value cannot be held by the column's type; the message is the reason."""


@dataclass(frozen=True)
class Converted:
    """A value ready for PostgreSQL, and the name of the normalisation that it took (None: it went as it was)."""

    value: Any
    normalisation: str | None = None


def storage_class(value: Any) -> str:
    """Name SQLite's storage class of a value read with `Text` as the text factory."""
    if value is None:
        return "null"
    if isinstance(value, Text):
        return "text"
    return {int: "integer", float: "real", bytes: "blob"}[type(value)]


def raw_bytes(value: Any) -> bytes | None:
    """Return the bytes that `imports.rejected.raw` keeps: text and blobs as they are, numbers as decimal text."""
    if value is None or isinstance(value, bytes):
        return None if value is None else bytes(value)
    return repr(value).encode()


def encode_row(row: dict[str, Any], refused: str | None = None) -> str:
    """Return a source row as JSON in which every storage class stays distinguishable (see `imports.rejected`).

    A large value of the column `refused` is left to `imports.rejected.raw`: jsonb holds no more than 256 MB.
    """
    return json.dumps({name: _encode(value, name == refused) for name, value in row.items()}, ensure_ascii=False)


def _encode(value: Any, refused: bool) -> Any:
    if refused and isinstance(value, bytes) and len(value) > LARGE_VALUE_BYTES:
        return {"raw": len(value)}
    if isinstance(value, Text):
        try:
            return value.decoded()
        except Unfit:
            return {"text": value.hex()}
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    return {"real": repr(value)} if isinstance(value, float) else value


# --- one value ------------------------------------------------------------------------------------------------------


def convert(value: Any, target: str, zone: tzinfo = UTC) -> Converted:
    """Convert one value to the PostgreSQL type `target` (as `format_type` prints it).

    `zone` is where a timestamp without offset was written. Raises `Unfit` with the reason when the type cannot hold
    the value, whatever the normalisation.
    """
    return Converted(None) if value is None else SCALARS[target](value, zone)


def _unfit(value: Any, target: str) -> Unfit:
    return Unfit(f"{storage_class(value)} value in a {target} column")


def _bigint(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, int):
        return Converted(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_BIGINT:
        return Converted(int(value), "real_to_integer")
    raise _unfit(value, "bigint")


def _double(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, float):
        return Converted(value)
    if isinstance(value, int) and int(float(value)) == value:
        return Converted(float(value))
    raise _unfit(value, "double precision")


def _text(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, Text):
        return Converted(value.decoded())
    if isinstance(value, bytes):
        raise _unfit(value, "text")
    return Converted(repr(value), "number_to_text")


def _boolean(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, int) and value in (0, 1):
        return Converted(bool(value))
    if isinstance(value, float) and value in (0.0, 1.0):
        return Converted(bool(value), "real_to_boolean")
    if isinstance(value, Text) and value.lower() in (b"true", b"false"):
        return Converted(value.lower() == b"true", "text_to_boolean")
    if isinstance(value, int):
        raise Unfit("number is neither 0 nor 1")
    raise _unfit(value, "boolean")


# Five digits and more are years that PostgreSQL has and Python has not; two would be a guess.
TIMESTAMP = re.compile(
    r"(\d{4,6})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?(?: ?(Z|[+-]\d\d:?\d\d))?", re.ASCII
)


def _timestamp(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, int | float):
        return _epoch(value)
    if not isinstance(value, Text):
        raise _unfit(value, "timestamp")
    match = TIMESTAMP.fullmatch(value.decoded())
    if not match:
        raise Unfit("text is not a timestamp")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    moment = _moment((year, month, day, hour or "0", minute or "0", second or "0"), fraction or "")
    if offset:
        return Converted(_instant(moment, _offset(offset)), "offset_to_instant")
    named = "date_to_timestamp" if hour is None else "minutes_to_timestamp" if second is None else None
    return Converted(_instant(moment, zone), named)


def _moment(parts: Sequence[str], fraction: str) -> datetime:
    if fraction[6:].strip("0"):
        raise Unfit("timestamp is finer than a microsecond")
    if not 1 <= int(parts[0]) <= 9999:
        raise Unfit("year is outside 1 to 9999")
    try:
        return datetime(*map(int, parts), int(fraction[:6].ljust(6, "0")))  # type: ignore[arg-type,call-arg]
    except ValueError as error:
        raise Unfit(f"impossible date or time: {error}") from error


def _offset(text: str) -> timezone:
    if text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    if minutes >= 24 * 60 or int(text[-2:]) > 59:
        raise Unfit("impossible offset from UTC")
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _instant(moment: datetime, zone: tzinfo) -> datetime:
    local = moment.replace(tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise Unfit(f"local time is ambiguous or does not exist in {zone} (clock change)")
    try:
        return local.astimezone(UTC)
    except OverflowError as error:
        raise Unfit("year is outside 1 to 9999") from error


def _epoch(value: float) -> Converted:
    if value in (float("inf"), float("-inf")):
        raise Unfit("number is not an epoch timestamp")
    for name, magnitude, per_second in (
        ("epoch_seconds", EPOCH_SECONDS, 1),
        ("epoch_milliseconds", EPOCH_MILLISECONDS, 1000),
    ):
        if abs(int(value)) in magnitude:
            return Converted(_epoch_instant(value, per_second), name)
    raise Unfit("number is not an epoch timestamp (neither seconds nor milliseconds between 1973 and 5138)")


def _epoch_instant(value: float, per_second: int) -> datetime:
    microseconds = round(Decimal(value) * 1_000_000 / per_second)
    if float(Decimal(microseconds) * per_second / 1_000_000) != value:
        raise Unfit("epoch number is finer than a microsecond")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _date(value: Any, zone: tzinfo) -> Converted:
    if not isinstance(value, Text):
        raise _unfit(value, "date")
    match = TIMESTAMP.fullmatch(value.decoded())
    if not match:
        raise Unfit("text is not a date")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    moment = _moment((year, month, day, hour or "0", minute or "0", second or "0"), fraction or "")
    if hour is None and offset is None:
        return Converted(moment.date())
    if offset or moment.time() != moment.min.time():
        raise Unfit("a time of day in a date column")
    return Converted(moment.date(), "midnight_to_date")


def _json(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, int | float):
        return Converted(json.dumps(repr(value)), "number_to_json_string")
    if not isinstance(value, Text):
        raise _unfit(value, "jsonb")
    text = value.decoded()
    if is_exact_json(text):
        return Converted(text)
    return Converted(json.dumps(text, ensure_ascii=False), "text_to_json_string")


SCALARS: dict[str, Callable[[Any, tzinfo], Converted]] = {
    "bigint": _bigint,
    "double precision": _double,
    "text": _text,
    "boolean": _boolean,
    "timestamp with time zone": _timestamp,
    "date": _date,
    "jsonb": _json,
}


# --- JSON -----------------------------------------------------------------------------------------------------------


def parse_json(text: str) -> Any:
    """Parse JSON so that two texts are equal exactly when jsonb holds the same value; `ValueError` when it is not JSON.

    Numbers become tagged Decimals, so that 1 and true, and numbers beyond a double, stay apart.
    """
    return json.loads(
        text,
        parse_int=_number,
        parse_float=_number,
        parse_constant=_refuse_constant,
        object_pairs_hook=_object,
    )


def is_exact_json(text: str) -> bool:
    """Tell whether jsonb can hold this text without losing anything but white space and the order of keys.

    Not so: text that is not JSON, repeated keys, NUL or half a surrogate pair, numbers beyond `numeric`.
    """
    try:
        parse_json(text)
        if "\\u" in text:
            json.dumps(json.loads(text), ensure_ascii=False).encode()
            return not re.search(r"(?<!\\)(?:\\\\)*\\u0000", text)
    except (ValueError, RecursionError):
        return False
    return True


def _number(text: str) -> tuple[str, Decimal]:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError("an exponent beyond reason") from error
    # numeric keeps 16,383 digits after the point and rounds the rest away.
    if abs(number.adjusted()) > 1000 or (len(text) > 1000 and int(number.as_tuple().exponent) < -15_000):
        raise ValueError("a number beyond what numeric should be asked to hold")
    return ("number", number)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is repeated")
    return members


# --- a whole column -------------------------------------------------------------------------------------------------

CLEAN = {
    "bigint": "typeof({0}) in ('integer', 'null')",
    # A column that was declared INTEGER elsewhere: up to 2^53 a double is the same number.
    "double precision": "(typeof({0}) in ('real', 'null') or "
    "typeof({0}) = 'integer' and {0} between -9007199254740992 and 9007199254740992)",
    "text": "typeof({0}) in ('text', 'null')",
    "boolean": "({0} is null or (typeof({0}) = 'integer' and {0} in (0, 1)))",
    "timestamp with time zone": "typeof({0}) in ('text', 'null')",
    "date": "typeof({0}) in ('text', 'null')",
    "jsonb": "typeof({0}) in ('text', 'null')",
}
"""For each type, the SQLite condition under which a column's value can take the fast path."""

FIRST_ROW = {"bigint": "0", "double precision": "0.0", "boolean": "0"}
"""A constant of the right storage class for each type ('' otherwise): the ADBC reader takes a column's type from it."""

ARROW_TYPES: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "jsonb": pa.string(),
    "double precision[]": pa.list_(pa.float64()),
}
"""The only Arrow type that each PostgreSQL type is written from and read as. COPY checks lengths, not types."""


def convert_column(column: pa.Array, target: str, zone: tzinfo = UTC) -> tuple[pa.Array, pa.Array]:
    """Convert a column of clean storage classes.

    Returns the column in its `ARROW_TYPES` type and a boolean mask that is false where a value has to be looked at
    one by one (its place in the first array is NULL then).
    """
    if target in ("bigint", "double precision"):
        return column, pa.repeat(True, len(column))
    if target == "boolean":
        return column.cast(pa.bool_()), pa.repeat(True, len(column))
    if (instants := _instants(column, target, zone)) is not None:
        return instants, pa.repeat(True, len(column))
    fine = _plain_text(column)
    if not _all(fine):
        column = pc.if_else(fine, column.cast(pa.binary()), None).cast(pa.string())
    converted, parsed = TEXT_COLUMNS[target](column, zone)
    return converted, pc.and_(fine, parsed)


def _all(mask: pa.Array) -> bool:
    return bool(pc.all(mask).as_py() is not False)


def _plain_text(column: pa.Array) -> pa.Array:
    """Mask out text that is not UTF-8 or holds a NUL."""
    fine = pa.repeat(True, len(column))
    if _holds_nul(column):
        fine = pc.invert(pc.fill_null(pc.match_substring(column.cast(pa.binary()), b"\0"), False))
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.cast(pa.binary())
        fine = pc.and_(fine, pa.array([value is None or _is_utf8(value) for value in raw.to_pylist()]))
    return fine


def _holds_nul(column: pa.Array) -> bool:
    """Tell whether a NUL may be in some text: looked for in all the column's bytes at once."""
    *_, characters = column.buffers()
    return characters is not None and b"\0" in characters.to_pybytes()


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text_column(column: pa.Array, zone: tzinfo) -> tuple[pa.Array, pa.Array]:
    return column, pa.repeat(True, len(column))


def _json_column(column: pa.Array, zone: tzinfo) -> tuple[pa.Array, pa.Array]:
    exact = pa.array([value is None or is_exact_json(value) for value in column.to_pylist()], pa.bool_())
    return (column if _all(exact) else pc.if_else(exact, column, None)), exact


# RE2, where \d is ASCII and $ is the end of the text.
PLAIN_TIMESTAMP = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d{1,6})?$"
PLAIN_DATE = r"^\d{4}-\d{2}-\d{2}$"
PLAIN_LENGTH = len("2024-05-01 12:00:00")
# Of the years that are no edge, in microseconds.
EARLIEST, LATEST = (
    pa.scalar(datetime(*moment, tzinfo=UTC), pa.timestamp("us", "UTC")).value for moment in ((2, 1, 1), (9998, 12, 31))
)
# Year 0000 does not exist, and in these others an offset from UTC can leave the calendar: one by one.
EDGE_YEAR = r"^(000[01]|9999)"
# Arrow knows no clock changes after 2037, where the tables of time zones end and their rules go on.
RULED_YEAR = r"^(000[01]|203[89]|20[4-9]|2[1-9]|[3-9])"


def _timestamp_column(column: pa.Array, zone: tzinfo) -> tuple[pa.Array, pa.Array]:
    shaped, fine = _shaped(column, PLAIN_TIMESTAMP, EDGE_YEAR if zone is UTC else RULED_YEAR)
    try:
        local = shaped.cast(pa.timestamp("us"))
        if zone is UTC:
            return local.cast(ARROW_TYPES["timestamp with time zone"]), fine
        return pc.assume_timezone(local, str(zone)).cast(ARROW_TYPES["timestamp with time zone"]), fine
    except pa.ArrowInvalid:
        return _one_by_one(shaped, "timestamp with time zone", zone, fine)


def _instants(column: pa.Array, target: str, zone: tzinfo) -> pa.Array | None:
    """Return a column of nothing but `2024-05-01 12:00:00` as instants; None where a value asks for a closer look.

    Of 19 characters Arrow reads no other form without an offset.
    """
    if target != "timestamp with time zone" or zone is not UTC:
        return None
    if pc.all(pc.equal(pc.binary_length(column), PLAIN_LENGTH)).as_py() is False:
        return None
    try:
        instants = column.cast(pa.timestamp("us")).cast(ARROW_TYPES[target])
    except pa.ArrowInvalid:
        return None
    ends = pc.min_max(instants.cast(pa.int64())).as_py()
    within = ends["min"] is None or (ends["min"] >= EARLIEST and ends["max"] <= LATEST)
    return instants if within else None


def _date_column(column: pa.Array, zone: tzinfo) -> tuple[pa.Array, pa.Array]:
    shaped, fine = _shaped(column, PLAIN_DATE, EDGE_YEAR)
    try:
        return shaped.cast(pa.date32()), fine
    except pa.ArrowInvalid:
        return _one_by_one(shaped, "date", zone, fine)


def _shaped(column: pa.Array, pattern: str, edges: str) -> tuple[pa.Array, pa.Array]:
    edge = pc.match_substring_regex(column, edges)
    fine = pc.fill_null(pc.and_(pc.match_substring_regex(column, pattern), pc.invert(edge)), True)
    return (column if _all(fine) else pc.if_else(fine, column, None)), fine


def _one_by_one(column: pa.Array, target: str, zone: tzinfo, fine: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Convert a column in which some value has the right shape but does not exist, such as 30 February."""
    converted: list[date | datetime | None] = []
    for value in column.to_pylist():
        try:
            converted.append(None if value is None else convert(Text(value.encode()), target, zone).value)
        except Unfit:
            converted.append(None)
    array = pa.array(converted, ARROW_TYPES[target])
    return array, pc.and_(fine, pc.or_(array.is_valid(), column.is_null()))


TEXT_COLUMNS: dict[str, Callable[[pa.Array, tzinfo], tuple[pa.Array, pa.Array]]] = {
    "text": _text_column,
    "jsonb": _json_column,
    "timestamp with time zone": _timestamp_column,
    "date": _date_column,
}
