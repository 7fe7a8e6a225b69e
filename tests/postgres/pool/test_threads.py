"""The pool for threads: connections, transactions, statements, and what happens when there are too few or they die."""

# What is raised must pass through a transaction that has done something.
# ruff: noqa: PT012

from __future__ import annotations

import contextvars
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, date, datetime
from datetime import time as dt_time

import psycopg
import psycopg2
import pytest
from psycopg import errors, sql

from callytics.exceptions import DatabaseUnavailable, OutcomeUnknown, PoolExhausted, SchemaChanged, TooSlow
from callytics.postgres import PostgreSQLManager, Statistics
from callytics.settings import Settings
from tests.support.pooling import end_sessions, eventually, ids, in_background, manager_for, sessions


@pytest.fixture
def manager(empty_database: Settings) -> Iterator[PostgreSQLManager]:
    """A pool of two to four connections on a database with one table."""
    with manager_for(empty_database, timeout=2.0) as manager:
        manager.execute_query("CREATE TABLE notes (id int PRIMARY KEY, text text)", fetch="none")
        yield manager


def insert(manager: PostgreSQLManager, number: int) -> None:
    assert manager.execute_query("INSERT INTO notes (id) VALUES (%s)", (number,), fetch="none") == 1


def test_what_a_statement_returns(manager: PostgreSQLManager) -> None:
    two = "VALUES (1, 'x'), (2, NULL)"
    assert manager.execute_query(f"SELECT * FROM ({two}) AS t (a, b)") == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert manager.execute_query(f"SELECT * FROM ({two}) AS t (a, b)", fetch="one") == {"a": 1, "b": "x"}
    assert manager.execute_query(f"SELECT * FROM ({two}) AS t (a, b)", fetch="val") == 1
    assert manager.execute_query("SELECT %(a)s || '%%'", {"a": "x"}, fetch="val") == "x%"
    assert manager.execute_query("SELECT 1 AS a WHERE false") == []
    assert manager.execute_query("SELECT 1 AS a WHERE false", fetch="one") is None
    assert manager.execute_query("SELECT 1 AS a WHERE false", fetch="val") is None
    assert manager.execute_query("INSERT INTO notes VALUES (1), (2)", fetch="none") == 2
    assert manager.execute_query("DELETE FROM notes WHERE id = 1") == []
    assert manager.execute_query(sql.SQL("SELECT id FROM {}").format(sql.Identifier("notes"))) == [{"id": 2}]
    with pytest.raises(ValueError, match="rename one"):
        manager.execute_query("SELECT 1 AS a, 2 AS a")


def test_a_statement_alone_is_committed_in_one_round_trip(manager: PostgreSQLManager) -> None:
    first, second = (
        manager.execute_query(
            "SELECT statement_timestamp(), xact_start FROM pg_stat_activity WHERE pid = pg_backend_pid()", fetch="one"
        )
        for _ in range(2)
    )
    assert first is not None
    assert second is not None
    assert first["xact_start"] == first["statement_timestamp"]
    assert second["xact_start"] > first["xact_start"]
    insert(manager, 1)
    with manager.connection() as other, other.cursor() as cursor:
        cursor.execute("SELECT id FROM notes")
        assert cursor.fetchall() == [(1,)]


def test_an_error_of_a_statement_stays_the_drivers(manager: PostgreSQLManager) -> None:
    insert(manager, 1)
    with pytest.raises(errors.UniqueViolation):
        insert(manager, 1)
    with pytest.raises(errors.SyntaxError):
        manager.execute_query("SELEC")
    assert ids(manager) == [1]


def test_transaction_commits_or_stores_nothing(manager: PostgreSQLManager) -> None:
    with manager.transaction():
        insert(manager, 1)
        assert manager.execute_query("SELECT pg_current_xact_id_if_assigned()::text", fetch="val") is not None
    with pytest.raises(ZeroDivisionError), manager.transaction() as connection:
        insert(manager, 2)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO notes VALUES (3)")
        raise ZeroDivisionError
    assert ids(manager) == [1]
    assert manager.statistics().in_use == 0


def test_transaction_inside_one_is_a_savepoint(manager: PostgreSQLManager) -> None:
    with manager.transaction():
        insert(manager, 1)
        with pytest.raises(ZeroDivisionError), manager.transaction():
            insert(manager, 2)
            with manager.transaction():
                insert(manager, 3)
            raise ZeroDivisionError
        with pytest.raises(errors.UniqueViolation), manager.transaction():
            insert(manager, 1)
        with manager.transaction(), manager.transaction():
            insert(manager, 4)
        assert manager.statistics().in_use == 1
    assert ids(manager) == [1, 4]
    with pytest.raises(ZeroDivisionError), manager.transaction():
        with manager.transaction():
            insert(manager, 5)
        raise ZeroDivisionError
    assert ids(manager) == [1, 4]


def test_transaction_is_its_threads_own(manager: PostgreSQLManager) -> None:
    """Even a thread that has inherited the context has no part in it."""
    with pytest.raises(ZeroDivisionError), manager.transaction():
        insert(manager, 1)
        context = contextvars.copy_context()
        with ThreadPoolExecutor(2) as threads:
            threads.submit(insert, manager, 2).result()
            threads.submit(context.run, insert, manager, 3).result()
        raise ZeroDivisionError
    assert ids(manager) == [2, 3]


def test_two_managers_have_transactions_of_their_own(manager: PostgreSQLManager, empty_database: Settings) -> None:
    with manager_for(empty_database) as other:
        with pytest.raises(ZeroDivisionError), manager.transaction(), other.transaction():
            insert(manager, 1)
            insert(other, 2)
            raise ZeroDivisionError
        with manager.transaction():
            insert(manager, 3)
            assert ids(other) == []
    assert ids(manager) == [3]


def test_transaction_takes_isolation_and_read_only(manager: PostgreSQLManager) -> None:
    show = (
        "SELECT current_setting('transaction_isolation') AS isolation, current_setting('transaction_read_only') AS ro"
    )
    with manager.transaction(isolation="serializable"):
        assert manager.execute_query(show) == [{"isolation": "serializable", "ro": "off"}]
    with manager.transaction(isolation="repeatable read", read_only=True):
        assert manager.execute_query(show) == [{"isolation": "repeatable read", "ro": "on"}]
        with pytest.raises(errors.ReadOnlySqlTransaction):
            insert(manager, 1)
    with manager.transaction():
        assert manager.execute_query(show) == [{"isolation": "read committed", "ro": "off"}]
    assert manager.execute_query(show) == [{"isolation": "read committed", "ro": "off"}]


def test_run_again_after_a_serialization_failure(manager: PostgreSQLManager) -> None:
    insert(manager, 1)
    attempts = []

    def change(connection: psycopg.Connection, text: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT text FROM notes WHERE id = 1")
            if not attempts:
                with ThreadPoolExecutor(1) as threads:
                    threads.submit(manager.execute_query, "UPDATE notes SET text = 'theirs'", fetch="none").result()
            attempts.append(1)
            cursor.execute("UPDATE notes SET text = coalesce(text, '') || %s", (text,))
        return "done"

    assert manager.run(change, "+ours", retries=2, isolation="repeatable read") == "done"
    assert len(attempts) == 2
    assert manager.execute_query("SELECT text FROM notes", fetch="val") == "theirs+ours"
    attempts.clear()
    with pytest.raises(errors.SerializationFailure):
        manager.run(change, "+ours", isolation="repeatable read")
    assert len(attempts) == 1


def test_run_inside_a_transaction_is_not_repeated(manager: PostgreSQLManager) -> None:
    calls = []

    def fail(_connection: psycopg.Connection) -> None:
        calls.append(1)
        raise errors.DeadlockDetected

    with pytest.raises(errors.DeadlockDetected), manager.transaction():
        manager.run(fail, retries=5)
    assert len(calls) == 1
    with pytest.raises(errors.DeadlockDetected):
        manager.run(fail, retries=2)
    assert len(calls) == 4


def test_connection_comes_back_like_new(manager: PostgreSQLManager) -> None:
    show = "SELECT current_setting('search_path') AS path, current_setting('statement_timeout') AS timeout"
    before = manager.execute_query(show)
    assert before[0]["timeout"] == "30s"
    with manager.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog; SET statement_timeout = 0")
        cursor.execute("CREATE TEMPORARY TABLE own (a int); SELECT pg_advisory_lock(1)")
        cursor.execute("BEGIN; INSERT INTO public.notes VALUES (1)")
    assert manager.execute_query(show) == before
    assert manager.execute_query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", fetch="val") == 0
    assert ids(manager) == []


def test_a_table_that_is_changed_meanwhile_is_read_anew(manager: PostgreSQLManager) -> None:
    """What a session has prepared returns other columns then, which the server refuses to run."""
    insert(manager, 1)
    read = "SELECT * FROM notes"
    for _ in range(10):
        assert manager.execute_query(read) == [{"id": 1, "text": None}]
    from_outside(manager, "ALTER TABLE notes ADD COLUMN more int")
    assert manager.execute_query(read) == [{"id": 1, "text": None, "more": None}]
    for _ in range(10):
        manager.execute_query(read)
    from_outside(manager, "ALTER TABLE notes DROP COLUMN more")
    with pytest.raises(SchemaChanged, match="try again"), manager.transaction():
        insert(manager, 2)
        manager.execute_query(read)
    assert manager.run(lambda _: manager.execute_query(read), retries=1) == [{"id": 1, "text": None}]


def test_values_that_python_has_none_for(manager: PostgreSQLManager) -> None:
    query = """
        SELECT 'infinity'::timestamptz AS late, '-infinity'::timestamptz AS early, 'infinity'::timestamp AS wall,
            '-infinity'::date AS day, '24:00'::time AS night, '10.0.0.1'::inet AS address,
            '0f8e7c1d-5b3a-4f6c-9d2e-1a0b7c8d9e0f'::uuid AS id
    """
    assert manager.execute_query(query, fetch="one") == {
        "late": datetime.max.replace(tzinfo=UTC),
        "early": datetime.min.replace(tzinfo=UTC),
        "wall": datetime.max,
        "day": date.min,
        "night": dt_time(),
        "address": "10.0.0.1",
        "id": "0f8e7c1d-5b3a-4f6c-9d2e-1a0b7c8d9e0f",
    }
    with pytest.raises(errors.DataError, match="too large"):
        manager.execute_query("SELECT '10000-01-01'::date")
    assert manager.execute_query("SELECT 1", fetch="val") == 1


def test_lists_and_nothing_are_values(manager: PostgreSQLManager) -> None:
    insert(manager, 1)
    assert manager.execute_query("SELECT id FROM notes WHERE id = ANY(%s)", ([1, 70_000],)) == [{"id": 1}]
    assert manager.execute_query("SELECT id FROM notes WHERE id = ANY(%s)", ([],)) == []
    assert manager.execute_query("UPDATE notes SET text = %s", (None,), fetch="none") == 1
    for number in (1, 40_000, 3_000_000_000):
        assert manager.execute_query("SELECT %s + 1", (number,), fetch="val") == number + 1


def test_never_more_connections_than_allowed(manager: PostgreSQLManager) -> None:
    assert sessions(manager) == 2
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda _: manager.execute_query("SELECT pg_sleep(0.02)"), range(40)))
    assert sessions(manager) == 4
    now = manager.statistics()
    assert (now.size, now.limit, now.in_use, now.idle, now.waiting) == (4, 4, 0, 4, 0)
    assert now.waits > 0
    assert now.wait_seconds > 0


def test_exhausted_pool_says_so_after_a_while(empty_database: Settings) -> None:
    with manager_for(empty_database, 1, 2, timeout=0.3) as manager, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(manager.connection())
        began = time.monotonic()
        with pytest.raises(PoolExhausted, match=r"all connections to the database \(2\) .* POSTGRES_MAX_CONNECTIONS"):
            manager.execute_query("SELECT 1")
        assert 0.25 < time.monotonic() - began < 2
        assert manager.statistics().timeouts == 1
        stack.close()
        assert manager.execute_query("SELECT 1", fetch="val") == 1


def test_whoever_waits_is_served_when_a_connection_is_free(empty_database: Settings) -> None:
    with manager_for(empty_database, 1, 1) as manager:
        with manager.connection():
            thread = threading.Thread(target=manager.execute_query, args=("SELECT 1",))
            thread.start()
            assert eventually(lambda: manager.statistics().waiting == 1)
        thread.join(5)
        assert not thread.is_alive()
        assert manager.statistics().waiting == 0


def test_dead_connections_are_replaced_unnoticed(manager: PostgreSQLManager) -> None:
    with manager.transaction():
        insert(manager, 1)
    end_sessions(manager)
    # Every connection there is, so that the ended one is among them.
    with ThreadPoolExecutor(4) as threads:
        assert list(
            threads.map(lambda n: manager.execute_query("SELECT %s, pg_sleep(0.1)", (n,), "val"), range(4))
        ) == [0, 1, 2, 3]
    assert manager.statistics().errors == 0
    assert manager.statistics().closed > 0


def test_notices_do_not_make_a_connection_dead(manager: PostgreSQLManager) -> None:
    """A server that has something to remark has not ended the session."""
    with manager_for(replace(manager.settings), 1, 1) as one:
        with one.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("LISTEN news")
        manager.execute_query("NOTIFY news", fetch="none")
        pid = one.execute_query("SELECT pg_backend_pid()", fetch="val")
        manager.execute_query("NOTIFY news", fetch="none")
        time.sleep(0.05)
        assert one.execute_query("SELECT pg_backend_pid()", fetch="val") == pid
        assert one.statistics().opened == 1


def test_a_connection_lost_in_a_transaction_stored_nothing(manager: PostgreSQLManager) -> None:
    with (
        pytest.raises(DatabaseUnavailable, match="nothing of the transaction was stored") as caught,
        manager.transaction(),
    ):
        insert(manager, 1)
        end_from_outside(manager)
        insert(manager, 2)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert ids(manager) == []


def test_a_connection_lost_during_commit_leaves_the_outcome_unknown(manager: PostgreSQLManager) -> None:
    with pytest.raises(OutcomeUnknown, match="during COMMIT"), manager.transaction():
        insert(manager, 1)
        end_from_outside(manager)
    assert ids(manager) == []


def test_a_statement_alone_that_is_lost_leaves_the_outcome_unknown(manager: PostgreSQLManager) -> None:
    with manager_for(manager.settings, 1, 1) as other:
        with (
            in_background(lambda: (time.sleep(0.5), end_from_outside(other))),
            pytest.raises(OutcomeUnknown, match="look whether"),
        ):
            other.execute_query("SELECT pg_sleep(10)")
        assert other.execute_query("SELECT 1", fetch="val") == 1


def from_outside(manager: PostgreSQLManager, statement: str) -> None:
    """Run a statement on a connection that is none of the pool's."""
    login = manager.settings.conninfo(owner=True)
    with closing(psycopg2.connect(login)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def end_from_outside(manager: PostgreSQLManager) -> None:
    """End every session of the database."""
    from_outside(
        manager,
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_statement_timeout(empty_database: Settings) -> None:
    with manager_for(empty_database, statement_timeout=0.2) as manager:
        with pytest.raises(TooSlow, match="statement timeout"):
            manager.execute_query("SELECT pg_sleep(20)")
        assert manager.execute_query("SELECT 1", fetch="val") == 1


def test_health_of_a_database_that_is_there(manager: PostgreSQLManager) -> None:
    health = manager.health_check()
    assert (health.status, health.reason) == ("healthy", None)
    assert health.server_version == manager.execute_query("SHOW server_version", fetch="val")
    assert 0 < health.latency_ms < 1000
    assert (health.size, health.waiting) == (2, 0)


def test_health_of_a_read_only_database(manager: PostgreSQLManager) -> None:
    manager.execute_query("SET default_transaction_read_only = on")
    health = manager.health_check()
    assert (health.status, health.reason) == ("unhealthy", "the database takes no writes")


def test_health_when_every_connection_is_in_use(empty_database: Settings) -> None:
    with manager_for(empty_database, 1, 1) as manager, manager.connection():
        began = time.monotonic()
        health = manager.health_check()
        assert time.monotonic() - began < 2
        assert (health.status, health.in_use) == ("unhealthy", 1)
        assert health.reason == "every connection to the database is in use"


def test_health_without_an_answer(empty_database: Settings) -> None:
    """The port accepts, and says nothing: a server that hangs, or a network that swallows."""
    with socket.create_server(("127.0.0.1", 0)) as silent, manager_for(empty_database) as manager:
        end_from_outside(manager)
        manager.settings = replace(manager.settings, port=silent.getsockname()[1])
        began = time.monotonic()
        results = []
        with in_background(lambda: results.append(manager.health_check())):
            health = manager.health_check()
        assert time.monotonic() - began < 2
        assert (health.status, health.reason) == ("unhealthy", "the database does not answer")
        assert results == [health]


def test_health_without_a_pool(empty_database: Settings) -> None:
    health = manager_for(empty_database).health_check()
    assert (health.status, health.reason) == ("unhealthy", "the pool of connections is not open")


def test_statistics_count(manager: PostgreSQLManager) -> None:
    before = manager.statistics()
    manager.execute_query("SELECT pg_sleep(0.05)")
    with pytest.raises(errors.SyntaxError):
        manager.execute_query("SELEC")
    after = manager.statistics()
    assert (after.queries - before.queries, after.errors - before.errors) == (2, 1)
    assert 0.05 <= after.query_seconds - before.query_seconds < 2
    assert (after.opened, after.closed) == (2, 0)
    manager.close()
    assert manager.statistics() == Statistics(limit=4)


def test_no_database_no_pool(empty_database: Settings) -> None:
    manager = manager_for(replace(empty_database, port=1))
    with pytest.raises(DatabaseUnavailable, match="is PostgreSQL running there"):
        manager.initialize()
    with pytest.raises(RuntimeError, match="initialize"):
        manager.execute_query("SELECT 1")


def test_closing_closes_what_is_idle_at_once_and_the_rest_later(empty_database: Settings) -> None:
    with manager_for(empty_database) as watcher:
        manager = manager_for(empty_database)
        manager.initialize()
        manager.initialize()
        with manager.transaction() as connection:
            manager.close()
            manager.close()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        assert connection.closed
        assert eventually(lambda: sessions(watcher) == 2)
        with pytest.raises(RuntimeError, match="initialize"):
            manager.execute_query("SELECT 1")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_process_must_not_use_its_parents_connections(manager: PostgreSQLManager) -> None:
    child = os.fork()
    if child == 0:
        try:
            manager.execute_query("SELECT 1")
        except RuntimeError:
            os._exit(42)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    assert manager.execute_query("SELECT 1", fetch="val") == 1
