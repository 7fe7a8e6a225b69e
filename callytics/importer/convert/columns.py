"""A whole Arrow column of SQLite values into the PostgreSQL type of its column.

Knows only what needs no normalisation, and marks everything else for `values.convert`, which has all the rules. Both
must agree, or a value would depend on its neighbours: one that no rule here fits sends only itself to the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo

import pyarrow as pa
import pyarrow.compute as pc

from callytics.importer.convert.values import Text, Unfit, convert
from callytics.postgres.bulk.arrow import all_true
from callytics.postgres.text import is_exact_json

# The only Arrow type that each PostgreSQL type is written from and read as. COPY checks lengths, not types.
# A table whose column has another type is refused by `Target.columns` before anything is written.
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
    # Bytes first: Arrow's text kernels may fail on, or skip, what is not UTF-8.
    fine = _plain_text(column)
    if not all_true(fine):
        column = pc.if_else(fine, column.cast(pa.binary()), None).cast(pa.string())
    converted, parsed = TEXT_COLUMNS[target](column, zone)
    return converted, pc.and_(fine, parsed)


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
    # Labels and parameters repeat: each text is looked at once.
    encoded = column.dictionary_encode()
    exact = pa.array(map(is_exact_json, encoded.dictionary.to_pylist()), pa.bool_())
    if all_true(exact):
        return column, pa.repeat(True, len(column))
    fine = pc.fill_null(exact.take(encoded.indices), True)
    return pc.if_else(fine, column, None), fine


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
    # A day has no zone, so only the years that Python or Arrow lack go one by one.
    shaped, fine = _shaped(column, PLAIN_DATE, EDGE_YEAR)
    try:
        return shaped.cast(pa.date32()), fine
    except pa.ArrowInvalid:
        return _one_by_one(shaped, "date", zone, fine)


def _shaped(column: pa.Array, pattern: str, edges: str) -> tuple[pa.Array, pa.Array]:
    edge = pc.match_substring_regex(column, edges)
    fine = pc.fill_null(pc.and_(pc.match_substring_regex(column, pattern), pc.invert(edge)), True)
    return (column if all_true(fine) else pc.if_else(fine, column, None)), fine


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
