"""The types of a call's fields: each accepts what its column accepts, and explains in our words what it refuses.

The same types validate two kinds of input. HTTP requests are validated without a context, within limits stricter than
the columns'; programs that use this package validate with :data:`INSIDE`, where only the columns' limits apply.
Numbers may be NumPy's, or any other that is registered as Integral or Real.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from numbers import Integral, Real
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    BeforeValidator,
    FailFast,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticKnownError, PydanticOmit, core_schema

from callytics.postgres.text import storable, storable_json

# The validation context of calls from Python, as opposed to HTTP.
INSIDE: Final = object()
LARGEST = 2**63 - 1
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
LONGEST_KEY = 1000

Element = TypeVar("Element")


@dataclass(frozen=True)
class Between:
    """A range that the column's CHECK demands of all input, ends included."""

    low: int
    high: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"minimum": self.low, "maximum": self.high}

    def check(self, value: Any, info: ValidationInfo) -> Any:
        """Return the value; raise ValueError outside the range."""
        if not self.low <= value <= self.high:
            raise ValueError(f"must be between {self.low} and {self.high}")
        return value


class Outside(Between):
    """A range for input over HTTP only, which the column does not demand."""

    def check(self, value: Any, info: ValidationInfo) -> Any:
        """Return the value; raise ValueError outside the range."""
        return value if info.context is INSIDE else super().check(value, info)


class Length(Outside):
    """How many characters a text may have in input over HTTP."""

    unit, keys = "characters", ("minLength", "maxLength")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | dict(zip(self.keys, (self.low, self.high), strict=True))

    def check(self, value: Any, info: ValidationInfo) -> Any:
        """Return the value; raise ValueError if it is too short or too long."""
        if info.context is not INSIDE and not self.low <= len(value) <= self.high:
            raise ValueError(f"must have {self.low} to {self.high} {self.unit}")
        return value


class Items(Length):
    """How many elements a list may have in input over HTTP."""

    unit, keys = "elements", ("minItems", "maxItems")


class InsideOnly:
    """Marks a field that programs may set but HTTP clients may not: over HTTP it is an unknown field."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(_inside, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        raise PydanticOmit


def _inside(value: Any, info: ValidationInfo) -> Any:
    if info.context is not INSIDE:
        raise PydanticKnownError("extra_forbidden")
    return value


def whole(value: Any) -> int:
    """Return a whole number of 64 bits; raise ValueError for anything else, booleans too."""
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


def _thirteen(value: Any) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != 13:
        raise ValueError("must be a list of 13 numbers")
    return [_real(number) for number in value]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {_kind(value)}")
    # Drivers adapt by class: a subclass of str, such as numpy.str_, may have no adapter or another meaning.
    return str.__str__(storable(value))


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false, not {_kind(value)}")


def _json(value: Any, info: ValidationInfo) -> str:
    if info.context is not INSIDE and not _is_object(value):
        raise ValueError(f"must be an object whose names have 1 to {LONGEST_KEY} characters")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("must be what JSON can hold, and no NaN") from None
    return storable_json(text)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) and 1 <= len(key) <= LONGEST_KEY for key in value)


def _day(value: Any, info: ValidationInfo) -> date:
    if isinstance(value, str) and (info.context is INSIDE or DAY.fullmatch(value)):
        value = _parsed(date.fromisoformat, value, "a day such as 2026-03-31")
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError(f"must be a date, not {_kind(value)}")
    return value


def _moment(value: Any) -> datetime:
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


def _sequence(value: Any, info: ValidationInfo) -> Any:
    # The application passes None for "no such part".
    if value is None and info.context is INSIDE:
        return []
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError("must be a list")
    return list(value)


def _kind(value: Any) -> str:
    return type(value).__name__


AS_TEXT = BeforeValidator(_text)
AS_LIST = BeforeValidator(_sequence)
# Only the first wrong element is told: if each of a long list had errors, they would cost more than the elements.
Elements = Annotated[list[Element], FailFast(), AS_LIST]
Text = Annotated[str, AS_TEXT]
Whole = Annotated[int, BeforeValidator(whole)]
Float = Annotated[float, BeforeValidator(_real)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Day = Annotated[date, BeforeValidator(_day)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Coefficients = Annotated[list[float], BeforeValidator(_thirteen)]
# As text: every driver accepts that for jsonb.
Json = Annotated[str, BeforeValidator(_json), WithJsonSchema({"type": "object", "additionalProperties": {}})]

Name = Annotated[Text, Length(1, 1000)]
Path = Annotated[Text, Length(1, 4096)]
LongText = Annotated[Text, Length(0, 1_000_000)]
Count = Annotated[Whole, Outside(0, LARGEST)]
Seconds = Annotated[Float, Outside(0, 10_000_000)]
Share = Annotated[Float, Between(0, 1)]
Polarity = Annotated[Float, Between(-1, 1)]
