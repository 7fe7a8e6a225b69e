"""How months are vacuumed: soon while they are written to, frozen once when they are over; and who tells of it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from callytics.postgres import connect
from callytics.schema import partitions
from callytics.schema.doctor.doctor import examine
from callytics.schema.readiness.importing import hold_import_lock
from callytics.settings import Settings
from callytics.status.top import looking
from tests.support.commands import invoke
from tests.support.servers import execute

SOON = [
    "autovacuum_analyze_scale_factor=0.02",
    "autovacuum_vacuum_insert_scale_factor=0.05",
    "autovacuum_vacuum_scale_factor=0.05",
]
FROZEN = ["autovacuum_freeze_min_age=0"]
TABLES = ("agent_activity_logs", "audit_log", "processing_logs", "transcriptions", "utterances")


def silent(_line: str) -> None:
    """Say nothing."""


def options(settings: Settings) -> dict[str, list[str] | None]:
    """Return the settings of every partition."""
    return dict(
        execute(
            settings,
            "select c.relname, (select array_agg(one order by one) from unnest(c.reloptions) as one) "
            "from pg_class as c where c.relispartition and c.relkind = 'r' and c.relnamespace = 'public'::regnamespace",
        )
    )


def unfrozen(settings: Settings, partition: str) -> int:
    """Return for how many transactions a partition may hold rows that are not frozen."""
    return int(execute(settings, f"select age(relfrozenxid) from pg_class where oid = '{partition}'::regclass")[0][0])


def said(settings: Settings) -> list[tuple[str, str, str]]:
    """Return what doctor says of the catalogue."""
    return [
        (one.level, one.what, one.fix)
        for one in examine(settings).findings
        if one.check == "catalogue" and one.level != "ok"
    ]


def months(settings: Settings) -> dict[str, Any]:
    with looking(settings) as look:
        return {row["name"]: row for row in look().sections["months"]}


@pytest.fixture
def old_month(database: Settings) -> Settings:
    """A month that is long over, with rows."""
    execute(database, "select ensure_month_partitions('audit_log', '2020-02-01', '2020-02-01')")
    execute(
        database,
        "insert into audit_log (action, created_at) select 'a', '2020-02-03' from generate_series(1, 500) returning 1",
    )
    execute(database, "select txid_current() from generate_series(1, 1)")
    return database


def test_every_month_to_come_and_the_default_partitions_are_vacuumed_soon(database: Settings) -> None:
    found = options(database)
    assert {name.rstrip("_0123456789").removesuffix("_default") for name in found} == set(TABLES)
    assert {tuple(one or ()) for one in found.values()} == {tuple(SOON)}
    assert said(database) == []


def test_what_somebody_took_away_is_named_and_comes_back(database: Settings) -> None:
    month = max(name for name in options(database) if name.startswith("utterances_2"))
    execute(database, f"alter table {month} reset (autovacuum_vacuum_scale_factor) ")
    execute(database, f"alter table {month} set (autovacuum_analyze_scale_factor = 0.5, fillfactor = 90)")
    execute(database, "alter table utterances_default reset (autovacuum_vacuum_insert_scale_factor)")
    assert {(level, what.partition(" is ")[0], fix) for level, what, fix in said(database)} == {
        ("warning", f"vacuuming {month}", "run 'callytics partitions ahead'"),
        ("warning", "vacuuming utterances_default", "run 'callytics partitions ahead'"),
    }
    assert partitions.make_ahead(database, 3) == []
    assert said(database) == []
    # What is no setting of autovacuum is the operator's.
    assert options(database)[month] == [*SOON, "fillfactor=90"]


def test_a_month_that_is_over_is_frozen_once_and_vacuumed_like_others_from_then_on(old_month: Settings) -> None:
    assert said(old_month) == []
    assert months(old_month)["audit_log"]["unfrozen"] == 0  # No statistics yet.
    execute(old_month, "analyze audit_log_2020_02")
    assert months(old_month)["audit_log"]["unfrozen"] == 1
    before = unfrozen(old_month, "audit_log_2020_02")
    result = invoke(old_month, "partitions", "freeze", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"ok": True, "frozen": ["audit_log_2020_02"]}
    assert unfrozen(old_month, "audit_log_2020_02") < before
    assert options(old_month)["audit_log_2020_02"] == FROZEN
    found = months(old_month)["audit_log"]
    assert (found["frozen"], found["unfrozen"], found["late"]) == (1, 0, 0)
    assert said(old_month) == []
    partitions.make_ahead(old_month, 3)
    assert options(old_month)["audit_log_2020_02"] == FROZEN
    assert partitions.freeze_over(old_month, silent) == []


def test_a_month_of_an_older_version_is_no_fault_and_frozen_as_well(old_month: Settings) -> None:
    execute(old_month, "alter table audit_log_2020_02 reset (" + ", ".join(one.split("=")[0] for one in SOON) + ")")
    assert said(old_month) == []
    assert partitions.freeze_over(old_month, silent) == ["audit_log_2020_02"]


def test_a_month_that_is_in_use_is_left_to_the_next_run(old_month: Settings) -> None:
    lines: list[str] = []
    with closing(connect(old_month, owner=True)) as holder, holder.cursor() as cursor:
        cursor.execute("lock table audit_log_2020_02 in share update exclusive mode")
        assert partitions.freeze_over(old_month, lines.append) == []
    assert lines[-1] == "audit_log_2020_02 is in use: the next run freezes it"
    assert options(old_month)["audit_log_2020_02"] == SOON
    assert partitions.freeze_over(old_month, silent) == ["audit_log_2020_02"]


def test_nothing_is_frozen_while_an_import_runs(old_month: Settings) -> None:
    lines: list[str] = []
    with closing(connect(old_month, owner=True)) as importing:
        hold_import_lock(importing)
        assert partitions.freeze_over(old_month, lines.append) == []
    assert lines == ["An import is under way: months are frozen after it"]


def test_only_the_owner_freezes(old_month: Settings) -> None:
    result = invoke(old_month, "partitions", "freeze", owner=False)
    assert result.exit_code == 1, result.output
    assert "set POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD" in result.stderr
    assert options(old_month)["audit_log_2020_02"] == SOON
