"""Types of a request's texts, times and ids, which accept only what PostgreSQL can hold."""

from __future__ import annotations

import datetime
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BeforeValidator

from callytics.calls.fields import DAY, LARGEST
from callytics.postgres.text import storable

MOMENT = "must be a day such as 2026-11-20, or a time with its zone such as 2026-11-20T09:00:00Z"


def read_moment(value: object) -> datetime.date | datetime.datetime:
    """Parse a day, or a time with its zone; raise ValueError for anything else, including numbers."""
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


def instant(moment: datetime.date | datetime.datetime | None) -> datetime.datetime | None:
    """Return the time of a moment; a day begins in UTC."""
    if moment is None or isinstance(moment, datetime.datetime):
        return moment
    return datetime.datetime.combine(moment, datetime.time(), datetime.UTC)


Text = Annotated[str, AfterValidator(storable)]
Moment = Annotated[datetime.date | datetime.datetime, BeforeValidator(read_moment)]
RowId = Annotated[int, Path(ge=1, le=LARGEST, description="A row's id", examples=[1])]
