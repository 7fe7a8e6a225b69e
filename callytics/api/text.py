"""What every text, number and day that comes in must be: something that PostgreSQL can hold."""

from __future__ import annotations

import datetime
import re
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BeforeValidator, Field

LARGEST_BIGINT = 2**63 - 1
MOMENT = "must be a day such as 2026-11-20, or a time with its zone such as 2026-11-20T09:00:00Z"
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def without_nul(text: str) -> str:
    """Return a text; raise ValueError where it holds the one character that PostgreSQL has no place for."""
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    return text


def read_day(value: object) -> datetime.date:
    """Return the day of a text such as 2026-11-20; raise ValueError for any other, and for numbers."""
    if not (isinstance(value, str) and DAY.fullmatch(value)):
        raise ValueError("must be a day such as 2026-11-20")
    return datetime.date.fromisoformat(value)


def read_moment(value: object) -> datetime.date | datetime.datetime:
    """Return the day, or the time with a zone, that a text is; raise ValueError for any other, and for numbers."""
    if not isinstance(value, str) or not DAY.match(value):
        raise ValueError(MOMENT)
    if DAY.fullmatch(value):
        return datetime.date.fromisoformat(value)
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(MOMENT) from None
    if moment.utcoffset() is None:
        raise ValueError(MOMENT)
    return moment


# Pydantic refuses surrogates by itself.
Text = Annotated[str, AfterValidator(without_nul)]
Day = Annotated[datetime.date, BeforeValidator(read_day)]
Moment = Annotated[datetime.date | datetime.datetime, BeforeValidator(read_moment)]
Bigint = Annotated[int, Field(ge=-(2**63), le=LARGEST_BIGINT)]
Count = Annotated[int, Field(ge=0, le=LARGEST_BIGINT)]
Float = Annotated[float, Field(allow_inf_nan=False)]
RowId = Annotated[int, Path(ge=1, le=LARGEST_BIGINT, description="A row's id", examples=[1])]
