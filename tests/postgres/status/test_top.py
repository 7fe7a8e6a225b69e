"""`callytics top` says what a server is doing: who waits for whom, what costs, and what this login can't see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from callytics.postgres import connect
from callytics.settings import Settings
from callytics.status import top
from callytics.status.top import Snapshot, looking
from callytics.trial.embedded import EmbeddedPostgres
from callytics.trial.servers import find_servers
from tests.support.commands import PROGRAM, environment, invoke
from tests.support.needs import lacking
from tests.support.places import REPOSITORY
from tests.support.servers import VOLATILE, execute, migrated, private_server, start_again
from tests.support.terminal import on_terminal, terminal, too_wide

pytestmark = pytest.mark.slow

SAID = "무엇을 도와드릴까요"


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that counts statements."""
    options = VOLATILE | {"shared_preload_libraries": "pg_stat_statements"}
    with private_server(tmp_path_factory.mktemp("counting"), options) as server:
        yield server


@pytest.fixture(scope="module")
def counted(counting: EmbeddedPostgres) -> Settings:
    """A migrated database on it, whose owner may see everything."""
    settings = migrated(counting, "callytics")
    with closing(psycopg2.connect(counting.superuser_conninfo("callytics"))) as superuser, superuser:
        execute_on(superuser, "create extension pg_stat_statements; grant pg_monitor to callytics_owner")
    return settings


def seen(settings: Settings) -> Snapshot:
    with looking(settings) as look:
        return look()


def test_the_newest_version_understands_every_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its views of itself are not those of the hosts' version: 17 has taken the checkpoints' apart."""
    newest = max(find_servers(), key=lambda server: server.version)
    if newest.version < 17:
        lacking("no PostgreSQL >= 17: install 'callytics[embedded]'")
    monkeypatch.setattr("callytics.trial.embedded.find_servers", lambda: iter([newest]))
    with private_server(tmp_path) as server:
        sections = seen(migrated(server, "callytics")).sections
    assert sections["checkpoints"][0].keys() == {"timed", "requested"}


def test_who_waits_for_whom_is_named_with_what_to_do(counted: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callytics.status.advice.LONG_WAIT", 0.0)
    with closing(connect(counted)) as holder, closing(connect(counted)) as waiter:
        execute_on(holder, "lock table topics in access exclusive mode")
        pid, holding = waiter.info.backend_pid, holder.info.backend_pid
        query = f"select count(*) from topics where name = '{SAID}'"
        with _in_background(waiter, query):
            _until(lambda: any(row["pid"] == pid for row in seen(counted).sections["blocking"]))
            snapshot = seen(counted)
            printed = invoke(counted, "top").stdout
            holder.rollback()
    (row,) = [row for row in snapshot.sections["blocking"] if row["pid"] == pid]
    assert (row["blocked_by"], row["relation"]) == (holding, "topics")
    assert row["blocker_state"] == "idle in transaction"
    (advice,) = [one for one in snapshot.advice if one.subject == "locks"]
    assert f"pg_terminate_backend({holding})" in advice.remedy
    session = next(row for row in snapshot.sections["sessions"] if row["pid"] == pid)
    assert session["query"] == "select count(*) from topics where name = ?"
    assert session["blocked_by"] == [holding]
    assert {"type": "Lock", "event": "relation", "sessions": 1} in snapshot.sections["waits"]
    assert "Who waits for whom" in printed
    assert "idle in transaction" in printed
    # Sizes of a locked table can't be had without queueing: it does not wait, and says so.
    assert [one.subject for one in snapshot.missing] == ["tables"]
    assert SAID not in printed


def test_what_costs_is_shown_without_what_was_said(counted: Settings) -> None:
    with closing(connect(counted)) as connection:
        for _ in range(3):
            execute_on(connection, f"select pg_sleep(0.2), '{SAID}'")
    (row,) = [row for row in seen(counted).sections["statements"] if "pg_sleep" in row["query"]]
    assert (row["calls"], row["rows"]) == (3, 3)
    assert 600 <= row["total_ms"] < 10_000
    assert "pg_sleep" in invoke(counted, "top").stdout
    for command in (["top"], ["top", "--json"]):
        assert SAID not in invoke(counted, *command).stdout


def test_tables_are_told_with_all_their_months(counted: Settings) -> None:
    tables = {row["name"]: row for row in seen(counted).sections["tables"]}
    assert {"utterances", "topics", "imports.runs"} <= set(tables)
    assert not [name for name in tables if name.startswith("utterances_")]
    before = tables["topics"]
    execute(counted, "insert into topics (name) select 'topic ' || n from generate_series(1, 20000) as n", owner=True)
    execute(counted, "delete from topics where name like 'topic 1%'", owner=True)
    with closing(connect(counted, owner=True)) as connection:
        execute_on(connection, "select pg_stat_force_next_flush()")
        _until(lambda: next(r for r in seen(counted).sections["tables"] if r["name"] == "topics")["dead_rows"] > 10_000)
    snapshot = seen(counted)
    row = next(row for row in snapshot.sections["tables"] if row["name"] == "topics")
    assert row["bytes"] > before["bytes"] + 500_000
    assert row["added_rows"] - before["added_rows"] == 20_000 - 11_111
    assert any(one.what.startswith("topics: 11,111 dead rows") for one in snapshot.advice)


def test_indexes_and_keys_that_cost_are_named(counted: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(top.LEAST, "least_bytes", 8192)
    execute(
        counted, "create table own (id bigint primary key, topic_id bigint references topics, note text)", owner=True
    )
    execute(counted, "insert into own select n, null, n::text from generate_series(1, 20000) as n", owner=True)
    execute(counted, "create index own_note on own (note)", owner=True)
    execute(counted, "analyze own", owner=True)
    try:
        found = {(one.subject, one.what.partition(":")[0]): one.remedy for one in seen(counted).advice}
        assert found["missing index", "own"].endswith("CREATE INDEX CONCURRENTLY ON own (topic_id)")
        assert "DROP INDEX CONCURRENTLY own_note" in found["unused index", "own_note of own"]
        execute(counted, "create index own_topic on own (topic_id, note)", owner=True)
        assert ("missing index", "own") not in {
            (one.subject, one.what.partition(":")[0]) for one in seen(counted).advice
        }
    finally:
        execute(counted, "drop table own", owner=True)


def test_empty_pages_are_estimated(counted: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(top.LEAST, "least_bytes", 100_000)
    execute(
        counted, "create table airy as select n, repeat('x', 100) as t from generate_series(1, 20000) as n", owner=True
    )
    execute(counted, "analyze airy", owner=True)
    try:
        assert "airy" not in {row["name"] for row in seen(counted).sections["bloat"]}
        execute(counted, "delete from airy where n % 10 <> 0", owner=True)
        with closing(connect(counted, owner=True)) as connection:
            connection.autocommit = True
            execute_on(connection, "vacuum analyze airy")
        (row,) = [row for row in seen(counted).sections["bloat"] if row["name"] == "airy"]
        # Nine rows of ten are gone.
        assert 0.85 < row["share"] < 0.95
    finally:
        execute(counted, "drop table airy", owner=True)


def test_settings_come_with_a_remedy_that_works(counting: EmbeddedPostgres, counted: Settings) -> None:
    def said() -> dict[str, str]:
        return {one.what.split()[0]: one.remedy for one in seen(counted).advice if one.subject == "settings"}

    statement = said()["log_lock_waits"].partition(",")[0]
    with closing(psycopg2.connect(counting.superuser_conninfo("callytics"))) as superuser:
        superuser.autocommit = True
        execute_on(superuser, statement)
        execute_on(superuser, "select pg_reload_conf()")
        _until(lambda: "log_lock_waits" not in said())
        execute_on(superuser, "alter system reset log_lock_waits")
        execute_on(superuser, "select pg_reload_conf()")


def test_on_a_provisioned_host_a_remedy_lasts(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment takes back what was set or granted by hand there."""
    monkeypatch.setattr("callytics.settings.checks.HOSTS_ENV_FILE", Path(__file__))
    snapshot = seen(database)
    remedies = [one.remedy for one in (*snapshot.missing, *snapshot.advice) if one.subject in ("sessions", "settings")]
    assert len(remedies) > 1
    assert [one for one in remedies if "ALTER SYSTEM" in one or "GRANT" in one] == []
    assert "callytics_monitor" in remedies[0]


def test_what_a_login_may_not_see_is_said(database: Settings) -> None:
    """The tests' usual server does not count statements, and its roles are no monitors."""
    application = replace(database, owner_user=None, owner_password=None)
    snapshot = seen(application)
    said = {one.subject: one for one in snapshot.missing}
    assert "GRANT pg_monitor TO callytics_user" in said["sessions"].remedy
    assert "CREATE EXTENSION pg_stat_statements" in said["statements"].remedy
    assert snapshot.sections["statements"] == []
    assert snapshot.sections["tables"]
    printed = invoke(application, "top", owner=False)
    assert printed.exit_code == 0
    assert "does not run pg_stat_statements" in printed.stdout


def test_json_has_what_is_printed(counted: Settings) -> None:
    told: dict[str, Any] = json.loads(invoke(counted, "top", "--json").stdout)
    assert {"server", "sessions", "waits", "blocking", "statements", "tables", "advice", "missing"} <= set(told)
    assert {"unused_indexes", "unindexed_keys", "bloat", "standbys", "slots", "archiving", "settings"} <= set(told)
    assert told["server"]["database"] == "callytics"


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_it_fits_a_terminal(counted: Settings, columns: int, tmp_path: Path) -> None:
    with closing(connect(counted)) as connection:
        execute_on(connection, f'select 1 as "{SAID * 4}"')
    seen = on_terminal(columns, "top", "--once", folder=tmp_path, variables=environment(counted))
    assert too_wide(seen) == []
    assert "Tables" in seen.text


def test_the_screen_is_live_survives_the_server_and_gives_the_terminal_back(
    counting: EmbeddedPostgres, counted: Settings, tmp_path: Path
) -> None:
    with terminal(80) as lent:
        process = subprocess.Popen(
            [*PROGRAM, "top", "--every", "0.5"],
            cwd=tmp_path,
            env=os.environ | environment(counted) | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=lent.slave,
            stderr=lent.slave,
            start_new_session=True,
        )
        try:
            _until(lambda: _written(lent).count("\033[H") >= 3)
            counting.stop()
            _until(lambda: "open database callytics" in _written(lent).rpartition("\033[H")[2])
            start_again(counting)
            _until(lambda: "connections" in _written(lent).rpartition("\033[H")[2])
        finally:
            start_again(counting)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
    assert lent.text.startswith("\033[?1049h")
    assert lent.text.endswith("\033[?25h\033[?1049l")
    assert "Traceback" not in lent.text
    screens = lent.text.split("\033[H")[1:]
    # As high as the terminal, or lower: one line more would scroll.
    assert max(screen.count("\n") for screen in screens) < 50


def _written(lent: Any) -> str:
    return b"".join(lent.written).decode(errors="replace")


def execute_on(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def _in_background(connection: Any, statement: str) -> Iterator[None]:
    """Run a statement that waits for something, and see it end."""
    thread = threading.Thread(target=execute_on, args=(connection, statement))
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()


def _until(told: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
