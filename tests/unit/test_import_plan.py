"""The plan of an import as data: what waits for what, as it is drawn in the manual and printed for a file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC
from pathlib import Path

import pytest

from callytics.importer import Limits
from callytics.importer.plan.graph import Kind, Plan, Rank, drawing
from callytics.importer.plan.importing import ImportPlan
from callytics.importer.plan.work import unrecorded_works
from callytics.importer.records.entries import Definition
from callytics.importer.source.reader import Source
from callytics.importer.target.catalogue import declared_columns
from tests.support.manual import page

DEFINITIONS = (
    Definition(1, "index", "transcriptions_2024_05", "a_pkey", "CREATE UNIQUE INDEX a_pkey ON a USING btree (id)"),
    Definition(2, "index", "transcriptions", "b", "CREATE INDEX b ON transcriptions USING btree (audio_file_id)"),
    Definition(3, "index", "transcriptions", "c", "CREATE INDEX c ON transcriptions USING gin (text_content)"),
    Definition(
        4, "foreign key", "transcriptions_2024_05", "d", "FOREIGN KEY (audio_file_id) REFERENCES audio_files(id)"
    ),
)
PRINTED = """load audio_files: 1 row
build audio_files: 1 row   after load audio_files
verify audio_files: 1 row   after build audio_files
load notes to imports.unmapped: 1 row
verify notes to imports.unmapped: 1 row   after load notes to imports.unmapped
load transcriptions: 40 rows, 2 steps
key transcriptions: 40 rows   after load transcriptions
share of an index transcriptions: 40 rows   after key transcriptions
index transcriptions: 40 rows   after share of an index transcriptions
analyze transcriptions: 40 rows   after key transcriptions, index transcriptions
verify transcriptions: 40 rows, 2 steps   after analyze transcriptions
declare foreign keys   after build audio_files, load notes to imports.unmapped, analyze transcriptions
validate foreign keys transcriptions_2024_05   after declare foreign keys
share of a search index transcriptions: 40 rows   after validate foreign keys transcriptions_2024_05
search index transcriptions: 40 rows   after share of a search index transcriptions"""


def plan_of(file: Path, limits: Limits) -> Plan:
    """Return the plan of a file's import into a database with one partition."""
    works = list(unrecorded_works(Source(file, limits=limits), declared_columns(), UTC))
    leaves = {"audio_files": ["audio_files"], "transcriptions": ["transcriptions_2024_05"]}
    return ImportPlan(works, DEFINITIONS, leaves, limits).build()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small table, a large one, and one that nothing maps."""
    path = tmp_path / "calls.sqlite"
    with closing(sqlite3.connect(path)) as sqlite:
        sqlite.executescript(
            "create table audio_files (id integer primary key, file_path text, file_name text, processing_status text);"
            "create table transcriptions (id integer primary key, audio_file_id integer, speaker_segment_id integer,"
            " text_content text, start_time real, end_time real, created_at datetime);"
            "create table notes (what text);"
            "insert into audio_files values (1, '/1', 'one', 'completed'); insert into notes values ('a');"
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 40)"
            "insert into transcriptions select i, 1, null, 'hello', 0, 1, '2024-05-01 10:00:00' from n;"
        )
    return path


@pytest.fixture
def plan(file: Path) -> Plan:
    return plan_of(file, Limits(piece_rows=20, large_table_rows=10))


def test_the_shape_is_as_the_manual_draws_it(plan: Plan) -> None:
    """Every kind of step is in this plan, and the drawing of the page on the architecture is made of it."""
    assert {step.kind for step in plan.steps} == set(Kind) - {Kind.COMPARE}
    assert f"```text\n{drawing(plan)}\n```\n" in page("architecture")


def test_the_plan_of_a_file_tells_steps_rows_and_order(plan: Plan) -> None:
    assert str(plan) == PRINTED


def test_every_step_comes_after_what_it_waits_for(plan: Plan) -> None:
    """Whatever order the workers take, nothing is handed out twice or too early."""
    sorter, done = plan.sorter(), []
    while sorter.is_active():
        for step in sorter.get_ready():
            assert set(step.waits) <= set(done)
            done.append(step)
            sorter.done(step)
    assert len(done) == len(set(done)) == len(plan.steps)


def test_without_verification_nothing_else_is_missing(file: Path, plan: Plan) -> None:
    """What benchmarks compare differs by the steps that verify alone."""
    unverified = plan_of(file, Limits(piece_rows=20, large_table_rows=10, verify=False))
    kinds = [step.kind for step in plan.steps if step.kind not in (Kind.VERIFY, Kind.VERIFIED)]
    assert [step.kind for step in unverified.steps] == kinds


def test_rows_go_in_before_anything_is_built_and_verified_last() -> None:
    assert Kind.LOAD.rank < Kind.BUILD.rank == Kind.SEARCH.rank < Kind.VERIFY.rank
    assert {kind.rank for kind in Kind if kind.notes} == {Rank.NOTE}
