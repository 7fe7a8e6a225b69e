"""The models of a call say what its tables say: each list of values, range, default and need is compared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from callytics.calls.fields import Between, Outside
from callytics.calls.parts import Part
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from tests.support.models import every_model, tables

TYPES: dict[Any, set[str]] = {
    int: {"int8"},
    float: {"float8"},
    bool: {"bool"},
    str: {"text", "jsonb"},
    date: {"date"},
    datetime: {"timestamptz"},
    list[float]: {"_float8"},
}
# What nobody says of a call: keys and what the caller names beside the element, what other calls of the manager set,
# and what the database makes itself.
ABSENT = {
    "audio_features": {"audio_file_id"},
    "audio_files": {"id"},
    "audio_metrics": {"id", "audio_file_id"},
    "analysis_history": {"id"},
    "communication_patterns": {"id", "session_id"},
    "communication_quality": {"id"},
    "consultation_analysis": {"id"},
    "consultation_sessions": {"id", "audio_file_id"},
    "improvement_suggestions": {"id", "session_id"},
    "quality_metrics": {"id", "session_id"},
    "sentiment_analysis": {"id", "session_id"},
    "speaker_segments": {"id", "audio_file_id"},
    "transcriptions": {"id", "audio_file_id"},
    "utterances": {"id", "speaker_role"},
}
# Columns that may be NULL, and that are not left out or set to nothing by whoever sets a status.
STATUS = {("AudioStatus", "status"), ("SessionStatus", "status")}
COLUMNS = """
select
    c.relname as table_name, a.attname as name, t.typname as type, a.attnotnull as needed,
    case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end as default_value,
    (
        select string_agg(pg_get_constraintdef(k.oid), ' ')
        from pg_constraint as k
        where k.conrelid = c.oid and k.contype = 'c' and k.conkey = array[a.attnum]
    ) as rule
from pg_class as c
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = 'public'::regnamespace and c.relname = any (%s)
"""


FIELDS = [
    pytest.param(model, name, id=f"{model.__name__}.{name}")
    for model in every_model()
    for name in model.model_fields
    if name != "segment_index"
]


@pytest.fixture(scope="module")
def columns(shared_database: Settings) -> dict[tuple[str, str], dict[str, Any]]:
    with PostgreSQLManager(shared_database) as postgres:
        found = postgres.execute_query(COLUMNS, (tables(),))
    return {(row["table_name"], row["name"]): row for row in found}


def parts(annotation: Any) -> Iterator[Any]:
    """Yield what an annotation is made of, outermost first: types, and what annotates them."""
    yield annotation
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from parts(part)
    elif hasattr(annotation, "__metadata__"):
        yield from parts(annotation.__origin__)
        yield from annotation.__metadata__


def described(field: FieldInfo) -> list[Any]:
    return [*parts(field.annotation), *field.metadata]


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_a_field_is_its_column(columns: dict[tuple[str, str], dict[str, Any]], model: type[Part], name: str) -> None:
    field = model.model_fields[name]
    column = columns[model.table, model.columns()[name]]
    found = described(field)
    rule = column["rule"] or ""
    literals = [get_args(part) for part in found if get_origin(part) is Literal]
    listed = tuple(re.findall(r"'([^']*)'::text", rule)) if "ANY" in rule else ()
    assert [set(values) for values in literals] == ([set(listed)] if listed else [])
    ranges = [(part.low, part.high) for part in found if isinstance(part, Between) and not isinstance(part, Outside)]
    ends = [float(end) for end in re.findall(r"[<>]= \(?'?(-?[0-9.]+)", rule)]
    assert ranges == ([tuple(ends)] if ends and "cardinality" not in rule else [])
    if not literals:
        assert [part for part in found if part in TYPES and column["type"] in TYPES[part]], column["type"]
    needed = column["needed"] and column["default_value"] is None
    if (model.__name__, name) not in STATUS:
        assert field.is_required() == needed
        assert (type(None) in found) == (not column["needed"])


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_a_default_is_the_columns(columns: dict[tuple[str, str], dict[str, Any]], model: type[Part], name: str) -> None:
    field = model.model_fields[name]
    default = columns[model.table, model.columns()[name]]["default_value"]
    if default in (None, "now()") or model.__name__ in ("AudioStatus", "SessionStatus"):
        assert field.is_required() or field.default is None
    else:
        said = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert said.removesuffix(".0") == re.sub(r"^'?(.*?)'?(::[a-z ]+)?$", r"\1", default).strip("()")


def test_every_column_has_a_field_or_a_reason(columns: dict[tuple[str, str], dict[str, Any]]) -> None:
    named = {(model.table, column) for model in every_model() for column in model.columns().values()}
    absent = {(table, name) for table, names in ABSENT.items() for name in names}
    known = named - {("transcriptions", "segment_index")}
    assert set(columns) - known == absent - known
    assert known <= set(columns)


def test_every_check_is_seen(columns: dict[tuple[str, str], dict[str, Any]]) -> None:
    """A check that no comparison understands would let the models drift from the tables."""
    checks = {key: column["rule"] for key, column in columns.items() if column["rule"]}
    assert len(checks) > 20
    assert [key for key, rule in checks.items() if not re.search(r"ANY|[<>]= |cardinality", rule)] == []
