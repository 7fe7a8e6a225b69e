"""Statements are shown without what was said in calls, whatever is quoted how, and wherever they were cut off."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callytics.postgres.sql import Queries, literal
from callytics.status.literals import without_literals
from tests.support.places import REPOSITORY

NAMES = 'select "we\'ird""x", a.b1, col$1, 한글2 from t where x = $1'


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        (NAMES, NAMES),
        ("select 'it''s said', 'b'", "select ?, ?"),
        (r"select E'it\'s said', e'\\', N'x', U&'d\0061', b'01', date'2024-01-01'", "select ?, ?, ?, ?, ?, date?"),
        (r"where name'x\' , 'said' , 1", "where name?"),
        ("select $$said$$, $t$ a $$ b $t$, 1", "select ?, ?, ?"),
        ("select 12.5e+3, -1_000, .5, 0xff\n, 1", "select ?, -?, ?, ? , ?"),
        ("select 1 -- said\n from t /* said */ where /* a /* b */ said */ true", "select ? from t where"),
        ("insert into t values ('said and cut off", "insert into t values (?"),
        ("insert into t values (E'cut off \\", "insert into t values (?"),
        ("do $body$ said and cut", "do ?"),
        ("alter role x password 'said'", "alter role x password ?"),
    ],
)
def test_a_statement_keeps_its_names_only(statement: str, shown: str) -> None:
    assert without_literals(statement) == shown


@given(st.text(), st.text(), st.integers(0, 400))
def test_no_quoted_text_is_left_wherever_it_is_cut(text: str, other: str, end: int) -> None:
    said = "SECRET"
    statement = f"select {literal(text + said)}, {literal(other + said)} from t where x = {literal(said)}"
    assert said not in without_literals(statement)
    assert "SECRE" not in without_literals(statement[:end])


@pytest.mark.parametrize("path", sorted((REPOSITORY / "callytics").rglob("*.sql")), ids=lambda path: path.name)
def test_what_makes_or_changes_objects_takes_no_values(path: Path) -> None:
    """Servers log such statements whole, as hosts have it (log_statement = ddl), so that a name would stay there."""
    if "-- name: " not in path.read_text(encoding="utf-8"):
        return
    made = re.compile(r"(?:--.*\n|\s)*(?:create|alter|drop|comment|grant|revoke|do)\b", re.IGNORECASE)
    assert [name for name, text in Queries(path).items() if made.match(text) and "%(" in text] == []
