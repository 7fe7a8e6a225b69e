"""`callytics metrics` tells Prometheus how the database is, to a role that sees no call."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from callytics.postgres import connect
from callytics.schema import partitions
from callytics.schema.grants import apply
from callytics.settings import Settings
from callytics.status.metrics import HELP, PREFIX, Database
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.commands import invoke, start
from tests.support.servers import VOLATILE, execute, migrated, private_server

pytestmark = pytest.mark.slow

SAID = "무엇을 도와드릴까요"
RUN = "insert into imports.runs (status, version, timezone, started_at) values (%s, '0', 'UTC', now())"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that counts statements, archives WAL nowhere, and can prepare transactions."""
    options = {"shared_preload_libraries": "pg_stat_statements", "archive_mode": "on", "archive_command": "false"}
    more = {"max_prepared_transactions": "2", "wal_level": "replica", "max_wal_senders": "2"}
    with private_server(tmp_path_factory.mktemp("watched"), VOLATILE | options | more) as server:
        yield server


@pytest.fixture(scope="module")
def owner(watched: EmbeddedPostgres) -> Settings:
    """A migrated database on it with the monitor's role."""
    settings = migrated(watched, "callytics")
    superuser(watched, "create extension pg_stat_statements")
    superuser(watched, "create role callytics_monitor login password 'monitor' in role pg_monitor")
    superuser(watched, "grant connect on database callytics to callytics_monitor")
    apply(settings)
    partitions.make_ahead(settings, 3)
    return settings


@pytest.fixture(scope="module")
def monitor(owner: Settings) -> Settings:
    """The monitor's login."""
    return replace(owner, user="callytics_monitor", password="monitor", owner_user=None, owner_password=None)


def superuser(server: EmbeddedPostgres, statement: str) -> None:
    with closing(psycopg2.connect(server.superuser_conninfo("callytics"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


def run(connection: psycopg2.extensions.connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def until(happens: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)


def told(settings: Settings) -> dict[str, float]:
    """Return every sample by its name and the values of its labels."""
    text = Database(settings).text()
    return {
        " ".join([sample.name.removeprefix(PREFIX), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_monitor_is_told_every_part(monitor: Settings) -> None:
    found = told(monitor)
    untold = {name: value for name, value in found.items() if name.startswith("untold ")}
    assert len(untold) > 15
    assert set(untold.values()) == {0.0}
    assert found["database_up"] == 1
    assert found["partitions_ahead_months"] == 3


def test_every_metric_says_what_it_is(monitor: Settings) -> None:
    families = [*text_string_to_metric_families(Database(monitor).text())]
    assert {family.documentation for family in families} <= set(HELP.values())
    assert all(family.name.startswith(PREFIX) for family in families)


def test_a_transaction_and_who_waits_behind_it(owner: Settings, monitor: Settings) -> None:
    with closing(connect(owner)) as holder, closing(connect(owner)) as waiter:
        run(holder, "lock table topics in access exclusive mode")
        thread = threading.Thread(target=run, args=(waiter, "select count(*) from topics"))
        thread.start()
        until(lambda: told(monitor)["longest_lock_wait_seconds"] > 0)
        found = told(monitor)
        holder.rollback()
        thread.join(30)
        waiter.rollback()
    assert found["longest_transaction_seconds"] >= found["longest_lock_wait_seconds"]
    assert found["lock_waits"] == 1
    # A size would have to wait for the lock: that part alone is untold, a second later.
    assert found["untold sizes"] == 1
    assert found["table_rows topics"] >= 0
    after = told(monitor)
    assert (after["lock_waits"], after["longest_transaction_seconds"], after["untold sizes"]) == (0, 0, 0)


def test_archiving_that_fails(watched: EmbeddedPostgres, monitor: Settings) -> None:
    superuser(watched, "select pg_switch_wal()")
    until(lambda: told(monitor)["archive_failing"] == 1)
    found = told(monitor)
    assert found["archive_waiting_files"] >= 1
    assert found["archive_failures_total"] >= 1


def test_a_prepared_transaction_counts(watched: EmbeddedPostgres, monitor: Settings) -> None:
    superuser(watched, "begin; create table probe (); prepare transaction 'forgotten'")
    found = told(monitor)
    superuser(watched, "rollback prepared 'forgotten'")
    assert found["longest_transaction_seconds"] > 0
    assert told(monitor)["longest_transaction_seconds"] == 0


def test_a_slot_that_nobody_reads(watched: EmbeddedPostgres, monitor: Settings) -> None:
    superuser(watched, "select pg_create_physical_replication_slot('nobody', true)")
    found = told(monitor)
    superuser(watched, "select pg_drop_replication_slot('nobody')")
    assert found["slot_active nobody"] == 0
    assert found["slot_held_bytes nobody"] >= 0
    assert "slot_active nobody" not in told(monitor)


def test_a_sequence_that_is_nearly_used_up(owner: Settings, monitor: Settings) -> None:
    execute(owner, "create sequence short maxvalue 100")
    execute(owner, "select setval('short', 90)")
    try:
        assert told(monitor)["sequence_used_ratio short"] == pytest.approx(0.9)
    finally:
        execute(owner, "drop sequence short")


def test_an_index_whose_making_failed(watched: EmbeddedPostgres, owner: Settings, monitor: Settings) -> None:
    execute(owner, "create table twice as select 1 as id from generate_series(1, 2)")
    try:
        with pytest.raises(psycopg2.errors.UniqueViolation):
            superuser(watched, "create unique index concurrently broken on twice (id)")
        assert told(monitor)["invalid_indexes"] == 1
    finally:
        execute(owner, "drop table twice")
    assert told(monitor)["invalid_indexes"] == 0


def test_imports_are_counted_by_verdict_and_no_file_is_named(owner: Settings, monitor: Settings) -> None:
    execute(owner, RUN, "different")
    try:
        assert told(monitor)["imports different"] == 1
        with closing(connect(monitor)) as connection, pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(connection, "select file from import_summaries")
    finally:
        execute(owner, "delete from imports.runs")


def test_statements_are_told_by_their_number_alone(owner: Settings, monitor: Settings) -> None:
    with closing(connect(owner)) as connection, connection.cursor() as cursor:
        cursor.execute(f"select count(*), pg_sleep(0.2), '{SAID}' from topics")
    text = Database(monitor).text()
    assert 'callytics_statement_seconds_total{queryid="' in text
    assert SAID not in text
    assert "select" not in text.partition("callytics_statement_calls")[2]


def test_what_a_role_may_not_see_is_named(owner: Settings) -> None:
    found = told(replace(owner, owner_user=None, owner_password=None))
    assert found["database_up"] == 1
    assert found["untold wal"] == 1
    assert found["untold rows"] == 0


def test_a_database_that_is_away_is_told_in_the_file(monitor: Settings, tmp_path: Path) -> None:
    file = tmp_path / "callytics.prom"
    file.write_text("# HELP old what an earlier run has told\n")
    answer = invoke(replace(monitor, port=1), "metrics", "--into", str(file))
    assert answer.exit_code == 1
    assert "callytics_database_up 0.0" in file.read_text()
    assert "callytics_connections" not in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["callytics.prom"]


def test_the_command_prints_or_replaces_a_file_that_everybody_reads(monitor: Settings, tmp_path: Path) -> None:
    assert "callytics_database_up 1.0\n" in invoke(monitor, "metrics").stdout
    file = tmp_path / "callytics.prom"
    answer = invoke(monitor, "metrics", "--into", str(file))
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o644


def test_the_socket_is_entered_as_the_account(monitor: Settings, tmp_path: Path) -> None:
    """No settings are read: none are needed beside the server."""
    file = tmp_path / "callytics.prom"
    answer = invoke(replace(monitor, password="change_me"), "metrics", "--socket", str(tmp_path), "--into", str(file))
    assert answer.exit_code == 1
    assert str(tmp_path) in answer.stderr
    assert f"as {pwd.getpwuid(os.geteuid()).pw_name}" in answer.stderr or "No such file" in answer.stderr


def test_prometheus_may_ask_by_http(monitor: Settings, tmp_path: Path) -> None:
    """Each time anew, and a database that does not answer is told as well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(monitor, "metrics", "--listen", f"127.0.0.1:{port}", folder=tmp_path)
    try:
        until(lambda: process.poll() is not None or answer(port) is not None, 60)
        found = answer(port)
        assert found is not None, process.communicate()
        assert "callytics_database_up 1.0" in found
        assert "callytics_partitions_ahead_months 3.0" in found
        taken = invoke(monitor, "metrics", "--listen", f"127.0.0.1:{port}")
        assert (taken.exit_code, taken.stderr.startswith(f"Error: can't listen on 127.0.0.1:{port} (")) == (1, True)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130


def answer(port: int) -> str | None:
    """Return what is told at a port of this machine."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as said:
            return str(said.read().decode())
    except OSError:
        return None


@pytest.mark.parametrize("address", ["9187", "host:", ":9187", "host:99999", "host:http"])
def test_an_address_has_a_host_and_a_port(monitor: Settings, address: str) -> None:
    refused = invoke(monitor, "metrics", "--listen", address)
    assert (refused.exit_code, "is no address: write it as 127.0.0.1:9187" in refused.stderr) == (2, True)
