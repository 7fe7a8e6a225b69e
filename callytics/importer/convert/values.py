"""One SQLite value into the PostgreSQL type of its column: exactly, by a named normalisation, or not at all.

All the rules are here. `columns.convert_column` has once more, for whole columns, those for values that need no
normalisation: nearly all values are such, and one by one Python would take most of an import's time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

from callytics.postgres.text import is_exact_json

ARRAY_LENGTH = re.compile(r"^(?P<name>\w+)\[(?P<position>\d+)\]$")

# When calls can have been recorded: what would put a number's time outside is no reading of it.
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2101, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = [(moment - EPOCH).total_seconds() for moment in (EARLIEST, LATEST)]
# Each way to read a number as a time since 1970, by the name of its normalisation: its words, and numbers a second.
EPOCHS = {"epoch_seconds": ("seconds since 1970", 1), "epoch_milliseconds": ("milliseconds since 1970", 1000)}
# Each way to read digits as a date. SQLite makes an INTEGER of 20240501093000 in a column that is declared DATETIME,
# and takes the zero from the beginning of 090501.
DIGITS = {
    "YYYYMMDDHHMMSS": "%Y%m%d%H%M%S",
    "YYYYMMDDHHMM": "%Y%m%d%H%M",
    "YYMMDDHHMMSS": "%y%m%d%H%M%S",
    "YYYYMMDDHH": "%Y%m%d%H",
    "YYMMDDHHMM": "%y%m%d%H%M",
    "YYYYMMDD": "%Y%m%d",
    "YYMMDD": "%y%m%d",
}
# Of these the ones that are taken for what they say. Two digits of a year are a guess, and ten digits from YYYY to HH
# are always seconds since 1970 as well.
TAKEN = ("YYYYMMDDHHMMSS", "YYYYMMDDHHMM", "YYYYMMDD")
LARGEST_BIGINT = 2**63 - 1


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
    # By the exact type: the module returns no others, and a new one must not pass unnoticed.
    return {int: "integer", float: "real", bytes: "blob"}[type(value)]


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
    # Python compares int and float exactly: 2.0**63 is one too many.
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_BIGINT:
        return Converted(int(value), "real_to_integer")
    raise _unfit(value, "bigint")


def _double(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, float):
        return Converted(value)
    # Beyond 2^53 a double can't hold every whole number.
    if isinstance(value, int) and int(float(value)) == value:
        return Converted(float(value))
    raise _unfit(value, "double precision")


def _text(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, Text):
        return Converted(value.decoded())
    if isinstance(value, bytes):
        raise _unfit(value, "text")
    # repr reads back as the same double; SQLite's own cast keeps 15 digits.
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
# A zero at the beginning is of a date, which a number would have lost.
WHOLE_NUMBER = re.compile(r"[1-9]\d{0,18}", re.ASCII)


def _timestamp(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, int | float):
        return _number_as_time(value, zone)
    if not isinstance(value, Text):
        raise _unfit(value, "timestamp")
    text = value.decoded()
    if WHOLE_NUMBER.fullmatch(text):
        return _number_as_time(int(text), zone)
    match = TIMESTAMP.fullmatch(text)
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
    # The two readings of an hour that is repeated differ, and so do those of one that is skipped (PEP 495).
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise Unfit(f"local time is ambiguous or does not exist in {zone} (clock change)")
    try:
        return local.astimezone(UTC)
    except OverflowError as error:
        raise Unfit("year is outside 1 to 9999") from error


def _number_as_time(value: float, zone: tzinfo) -> Converted:
    """Take a number for a time only where all that it can be read as within the years of call recordings is one."""
    dates, epochs = _dates(value), _epochs(value)
    if len(dates) + len(epochs) > 1:
        raise Unfit(
            f"number has several readings as a time: {', '.join([*dates, *(EPOCHS[name][0] for name in epochs)])}"
        )
    for written, moment in dates.items():
        if written not in TAKEN:
            raise Unfit(f"number is a time only with a year of two digits ({written}), whose century is a guess")
        return Converted(_instant(moment, zone), "digits_to_timestamp")
    for name in epochs:
        return Converted(_since_1970(value, EPOCHS[name][1]), name)
    raise Unfit("number is no time from 1990 to 2100: no digits of a date, no seconds or milliseconds since 1970")


def _dates(value: float) -> dict[str, datetime]:
    """Return every reading of a number as the digits of a date, with the time of day or without, by its form."""
    if value < 0 or not float(value).is_integer():
        return {}
    found = {}
    for written, form in DIGITS.items():
        digits = str(int(value)).zfill(len(written))
        if len(digits) == len(written):
            with suppress(ValueError):
                moment = datetime.strptime(digits, form)
                if form.startswith("%y") and moment.year < EARLIEST.year:
                    moment = moment.replace(year=moment.year + 100)
                if EARLIEST.year <= moment.year < LATEST.year:
                    found[written] = moment
    return found


def _epochs(value: float) -> list[str]:
    """Return the names of the readings of a number as a time since 1970."""
    return [name for name, (_, per_second) in EPOCHS.items() if SECONDS[0] <= value / per_second < SECONDS[1]]


def _since_1970(value: float, per_second: int) -> datetime:
    # The product of two floats could be off by a microsecond.
    microseconds = round(Decimal(value) * 1_000_000 / per_second)
    if float(Decimal(microseconds) * per_second / 1_000_000) != value:
        raise Unfit("epoch number is finer than a microsecond")
    return EPOCH + timedelta(microseconds=microseconds)


def _date(value: Any, zone: tzinfo) -> Converted:
    if isinstance(value, int | float):
        return _number_as_date(value)
    if not isinstance(value, Text):
        raise _unfit(value, "date")
    text = value.decoded()
    if WHOLE_NUMBER.fullmatch(text):
        return _number_as_date(int(text))
    match = TIMESTAMP.fullmatch(text)
    if not match:
        raise Unfit("text is not a date")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    moment = _moment((year, month, day, hour or "0", minute or "0", second or "0"), fraction or "")
    if hour is None and offset is None:
        return Converted(moment.date())
    if offset or moment.time() != moment.min.time():
        raise Unfit("a time of day in a date column")
    return Converted(moment.date(), "midnight_to_date")


def _number_as_date(value: float) -> Converted:
    # A column of dates holds no times: eight digits have no other reading there.
    if found := _dates(value).get("YYYYMMDD"):
        return Converted(found.date(), "digits_to_date")
    raise Unfit("number is no date from 1990 to 2100 (YYYYMMDD)")


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
