"""A number becomes a time only where nobody could read another time from 1990 to 2100 from it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callytics.importer.convert.values import Text, Unfit, convert

FORMS = {14: ("%Y%m%d%H%M%S",), 12: ("%Y%m%d%H%M", "%y%m%d%H%M%S"), 10: ("%Y%m%d%H", "%y%m%d%H%M"), 8: ("%Y%m%d",)}
MOMENTS = st.datetimes(datetime(1985, 1, 1), datetime(2105, 1, 1))


def readings(number: int) -> set[datetime]:
    """Return every time from 1990 to 2100 that a number may stand for."""
    counted = (number / unit for unit in (1, 1000))
    found = {datetime(1970, 1, 1) + timedelta(seconds=seconds) for seconds in counted if seconds < 5e9}
    for length, forms in FORMS.items():
        # A number has lost the zeros that its digits began with.
        for form in forms if len(str(number)) in (length, length - 1) else ():
            for century in ("19", "20") if "%y" in form else ("",):
                digits = century + str(number).zfill(length)
                with suppress(ValueError):
                    found.add(datetime.strptime(digits, form.replace("%y", "%Y")))
    return {moment for moment in found if 1990 <= moment.year <= 2100}


def check(number: int) -> None:
    possible = readings(number)
    for value in (number, Text(str(number).encode())):
        try:
            taken = convert(value, "timestamp with time zone").value
        except Unfit:
            continue
        assert {taken.replace(tzinfo=None)} == possible, number


@given(MOMENTS.flatmap(lambda at: st.sampled_from([at.strftime(form) for forms in FORMS.values() for form in forms])))
def test_digits_of_a_date(digits: str) -> None:
    check(int(digits))


@given(MOMENTS, st.sampled_from([1, 1000]))
def test_times_since_1970(moment: datetime, per_second: int) -> None:
    check(int(moment.replace(tzinfo=UTC).timestamp() * per_second))


@given(st.integers(0, 10**15))
def test_any_number(number: int) -> None:
    check(number)


@given(st.datetimes(datetime(2013, 1, 1), datetime(2100, 12, 31)))
def test_what_is_written_in_full_is_taken(moment: datetime) -> None:
    """From 2013 on no minute in digits has a second reading."""
    for form in ("%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d"):
        digits = moment.strftime(form)
        taken = convert(int(digits), "timestamp with time zone")
        assert (taken.value.strftime(form), taken.normalisation) == (digits, "digits_to_timestamp")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (2024050109, "number has several readings as a time: YYYYMMDDHH, seconds since 1970"),
        (200102030405, "number has several readings as a time: YYYYMMDDHHMM, YYMMDDHHMMSS"),
        (1712310959, "number has several readings as a time: YYMMDDHHMM, seconds since 1970"),
        (240501093000, "number is a time only with a year of two digits (YYMMDDHHMMSS), whose century is a guess"),
        (2024, "number is no time from 1990 to 2100: no digits of a date, no seconds or milliseconds since 1970"),
    ],
)
def test_the_reason_names_the_readings(number: int, reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        convert(number, "timestamp with time zone")
    assert str(refused.value) == reason
