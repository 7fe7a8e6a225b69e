"""A server that must not store anything without a standby, and has none: nothing is called stored, nobody waits on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from callytics.exceptions import CallyticsError, OutcomeUnknown
from callytics.postgres import PostgreSQLManager, connect
from callytics.postgres.pool import sessions
from callytics.schema.migrate import migrate
from callytics.settings import Settings
from callytics.status.metrics import Database
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.pooling import eventually, ids, in_background, manager_for
from tests.support.servers import VOLATILE, private_server, settings_for, superuser

pytestmark = pytest.mark.slow

INSERT = "INSERT INTO notes (id) VALUES (%s)"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCEL = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCELLED = "the wait for a standby's confirmation was cancelled, so this is stored on one host alone"
SILENT = r"PostgreSQL has not said within 1 seconds that this is stored, so it may lack a standby"
HEALTHY, BLOCKED = "healthy", "the database stores nothing: it waits for a standby"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that can be made to wait for a standby that is not there."""
    options = {**VOLATILE, "synchronous_commit": "on"}
    with private_server(tmp_path_factory.mktemp("alone"), options) as server:
        server.provide(settings_for(server, "notes"))
        yield server


@pytest.fixture
def manager(alone: EmbeddedPostgres) -> Iterator[PostgreSQLManager]:
    """A pool on that server while that still stores what it is given."""
    with manager_for(settings_for(alone, "notes"), timeout=2.0) as manager:
        manager.execute_query("DROP TABLE IF EXISTS notes; CREATE TABLE notes (id int PRIMARY KEY)", fetch="none")
        yield manager


@pytest.fixture
def waiting(alone: EmbeddedPostgres, manager: PostgreSQLManager) -> Iterator[PostgreSQLManager]:
    """The pool, while every commit waits for a standby."""
    _wait_for(alone, "absent")
    assert eventually(lambda: manager.execute_query("SHOW synchronous_standby_names", fetch="val") == "absent")
    yield manager
    _wait_for(alone, "")
    assert eventually(lambda: _asked(alone, WAITING) == 0)


def _wait_for(server: EmbeddedPostgres, standby: str) -> None:
    superuser(server, f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
    superuser(server, "SELECT pg_reload_conf()")


def _asked(server: EmbeddedPostgres, question: str) -> Any:
    with psycopg.connect(server.superuser_conninfo(), autocommit=True) as connection:
        row = connection.execute(question).fetchone()
        assert row is not None
        return row[0]


def _cancelled_while_waiting(server: EmbeddedPostgres, work: Callable[[], object]) -> list[BaseException]:
    """Run something until it waits for the standby, cancel that wait, and return what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except CallyticsError as error:
            raised.append(error)

    with in_background(run):
        assert eventually(lambda: _asked(server, WAITING) == 1)
        assert _asked(server, CANCEL) == 1
    return raised


def statement(manager: PostgreSQLManager) -> None:
    manager.execute_query(INSERT, (1,), fetch="none")


def transaction(manager: PostgreSQLManager) -> None:
    with manager.transaction():
        statement(manager)


def bulk(manager: PostgreSQLManager) -> None:
    manager.bulk_insert("notes", ["id"], [(1,)])


def apart(manager: PostgreSQLManager) -> None:
    with manager.connection() as connection:
        connection.execute(INSERT, (1,))


def function(manager: PostgreSQLManager) -> None:
    manager.run(lambda connection: connection.execute(INSERT, (1,)), retries=3)


def task(manager: PostgreSQLManager) -> None:
    asyncio.run(manager.aexecute_query(INSERT, (1,), fetch="none"))


def transaction_of_a_task(manager: PostgreSQLManager) -> None:
    async def store() -> None:
        async with manager.atransaction():
            await manager.aexecute_query(INSERT, (1,), fetch="none")

    asyncio.run(store())


WRITES = [statement, transaction, bulk, function, task, transaction_of_a_task]


@pytest.mark.parametrize("write", [*WRITES, apart])
def test_a_cancelled_wait_is_no_success(
    alone: EmbeddedPostgres, waiting: PostgreSQLManager, write: Callable[[PostgreSQLManager], None]
) -> None:
    """PostgreSQL says COMMIT and a warning; the row is there, and gone with this host."""
    (raised,) = _cancelled_while_waiting(alone, lambda: write(waiting))
    assert isinstance(raised, OutcomeUnknown)
    assert str(raised).startswith(CANCELLED)
    assert ids(waiting) == [1]


def test_the_session_of_a_cancelled_wait_is_as_good_as_before(
    alone: EmbeddedPostgres, manager: PostgreSQLManager
) -> None:
    before = manager.statistics().opened
    _wait_for(alone, "absent")
    try:
        assert _cancelled_while_waiting(alone, lambda: transaction(manager))
    finally:
        _wait_for(alone, "")
    assert eventually(lambda: not manager.execute_query("SHOW synchronous_standby_names", fetch="val"))
    manager.execute_query(INSERT, (2,), fetch="none")
    assert (ids(manager), manager.statistics().opened) == ([1, 2], before)


@pytest.mark.parametrize("write", WRITES)
def test_nobody_waits_for_ever(
    alone: EmbeddedPostgres,
    waiting: PostgreSQLManager,
    write: Callable[[PostgreSQLManager], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """statement_timeout does not end the wait, and what is not confirmed is not shown to others either."""
    monkeypatch.setattr(sessions, "LATE_SECONDS", 0.5)
    settings = replace(waiting.settings, min_connections=1)
    with PostgreSQLManager(settings, owner=True, statement_timeout=0.5) as manager:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match=SILENT):
            write(manager)
        assert 0.9 < time.monotonic() - began < 5
        assert ids(manager) == []
        assert manager.statistics().in_use == 0


def test_reading_and_a_transaction_that_stores_nothing_wait_for_nobody(waiting: PostgreSQLManager) -> None:
    with waiting.transaction():
        assert ids(waiting) == []
    with suppress(ZeroDivisionError), waiting.transaction():
        statement(waiting)
        raise ZeroDivisionError
    assert ids(waiting) == []


def test_a_slow_statement_inside_a_transaction_is_the_servers_to_end(
    manager: PostgreSQLManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LATE_SECONDS", 0.2)
    settings = replace(manager.settings, min_connections=1)
    with PostgreSQLManager(settings, owner=True, statement_timeout=0.3) as hasty, hasty.transaction():
        hasty.execute_query("SET LOCAL statement_timeout = 0", fetch="none")
        assert hasty.execute_query("SELECT 'here' FROM pg_sleep(1)", fetch="val") == "here"


@pytest.mark.parametrize("whose", ["ROLE callytics_owner", "DATABASE notes"])
def test_no_role_and_no_database_stores_without_the_standby(
    alone: EmbeddedPostgres, manager: PostgreSQLManager, whose: str
) -> None:
    superuser(alone, f"ALTER {whose} SET synchronous_commit = local")
    _wait_for(alone, "absent")
    try:
        with manager_for(manager.settings) as later:
            assert _cancelled_while_waiting(alone, lambda: statement(later))
    finally:
        # Before this statement, which would wait as well.
        _wait_for(alone, "")
        superuser(alone, f"ALTER {whose} RESET synchronous_commit")


def test_a_cancelled_wait_of_a_single_connection_is_no_success(
    alone: EmbeddedPostgres, waiting: PostgreSQLManager
) -> None:
    """Imports and records use psycopg2, which raises nothing either."""

    def store() -> None:
        with closing(connect(waiting.settings, owner=True)) as connection, connection.cursor() as cursor:
            cursor.execute(INSERT, (1,))
            connection.commit()

    (raised,) = _cancelled_while_waiting(alone, store)
    assert isinstance(raised, OutcomeUnknown)
    assert str(raised).startswith(CANCELLED)
    assert ids(waiting) == [1]


def by_itself(settings: Settings) -> None:
    with closing(connect(settings, owner=True)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("INSERT INTO notes (id) SELECT coalesce(max(id), 0) + 1 FROM notes")


def migration(settings: Settings) -> None:
    migrate(settings, report=lambda line: None)


@pytest.mark.parametrize("write", [by_itself, migration])
def test_a_cancelled_wait_of_a_statement_that_is_committed_by_itself_is_no_success(
    alone: EmbeddedPostgres, waiting: PostgreSQLManager, write: Callable[[Settings], None]
) -> None:
    """Migrations commit so, whose first write is as little confirmed as the last."""
    (raised,) = _cancelled_while_waiting(alone, lambda: write(waiting.settings))
    assert isinstance(raised, OutcomeUnknown)
    assert str(raised).startswith(CANCELLED)


def test_what_the_server_only_notes_is_no_warning(waiting: PostgreSQLManager) -> None:
    with closing(connect(waiting.settings, owner=True)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("CREATE TABLE IF NOT EXISTS notes (id int)")
        assert connection.notices[0] == 'NOTICE:  relation "notes" already exists, skipping\n'


def test_what_the_server_warns_of_without_details_is_no_wait(waiting: PostgreSQLManager) -> None:
    """Each migration that is no transaction begins with this one."""
    with closing(connect(waiting.settings, owner=True)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("ROLLBACK")
        assert connection.notices[0] == "WARNING:  there is no transaction in progress\n"


@pytest.mark.parametrize("whose", ["ROLE callytics_owner", "DATABASE notes"])
def test_no_role_and_no_database_silences_the_warning(
    alone: EmbeddedPostgres, manager: PostgreSQLManager, whose: str
) -> None:
    """Without it a cancelled wait would look like a success."""
    superuser(alone, f"ALTER {whose} SET client_min_messages = error")
    _wait_for(alone, "absent")
    try:
        with manager_for(manager.settings) as later:
            (raised,) = _cancelled_while_waiting(alone, lambda: statement(later))
            assert str(raised).startswith(CANCELLED)
        (raised,) = _cancelled_while_waiting(alone, lambda: by_itself(manager.settings))
        assert str(raised).startswith(CANCELLED)
    finally:
        # Before this statement, which would wait as well.
        _wait_for(alone, "")
        superuser(alone, f"ALTER {whose} RESET client_min_messages")


def test_a_remark_on_a_commit_is_none_of_a_wait_where_nobody_waits(manager: PostgreSQLManager) -> None:
    with closing(connect(manager.settings, owner=True)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION remark() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE WARNING 'remarked'; RETURN NULL; END $$;"
            " CREATE CONSTRAINT TRIGGER remark AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION remark()"
        )
        connection.commit()
        cursor.execute(INSERT, (1,))
        connection.commit()
        assert connection.notices == ["WARNING:  remarked\n"]
    manager.execute_query("DROP FUNCTION remark CASCADE", fetch="none")


def test_health_says_that_nothing_is_stored_and_leaves_no_session_behind(
    alone: EmbeddedPostgres, waiting: PostgreSQLManager
) -> None:
    began = time.monotonic()
    assert not waiting.statistics().waits_for_standby
    assert waiting.health_check().reason == BLOCKED
    assert time.monotonic() - began < 2
    # The look gives up by itself; the next one says the same.
    assert eventually(lambda: _asked(alone, WAITING) == 0)
    assert (waiting.health_check().status, waiting.health_check().reason) == ("unhealthy", BLOCKED)
    assert _asked(alone, WAITING) <= 1
    assert waiting.statistics().waits_for_standby
    _wait_for(alone, "")
    assert eventually(lambda: waiting.health_check().status == HEALTHY)
    assert not waiting.statistics().waits_for_standby


def test_metrics_of_the_server_tell_who_waits(alone: EmbeddedPostgres, manager: PostgreSQLManager) -> None:
    # Before the server waits: this statement would, too.
    superuser(alone, "GRANT pg_monitor TO callytics_owner")
    monitor = replace(manager.settings, user="callytics_owner", password=manager.settings.owner_password or "")
    found: list[str] = []

    def look() -> None:
        assert eventually(lambda: _asked(alone, WAITING) == 1)
        found.extend(Database(monitor).text().splitlines())
        _asked(alone, CANCEL)

    _wait_for(alone, "absent")
    try:
        assert eventually(lambda: manager.execute_query("SHOW synchronous_standby_names", fetch="val") == "absent")
        with in_background(look), suppress(OutcomeUnknown):
            by_itself(manager.settings)
    finally:
        _wait_for(alone, "")
    assert "callytics_standby_waits 1.0" in found
    (longest,) = [line.split()[1] for line in found if line.startswith("callytics_longest_standby_wait_seconds ")]
    assert 0 < float(longest) < 30


def test_health_writes_nothing_where_nobody_has_to_confirm_it(
    alone: EmbeddedPostgres, manager: PostgreSQLManager
) -> None:
    assert manager.health_check().status == HEALTHY
    before = _asked(alone, "SELECT pg_current_xact_id()::text")
    assert manager.health_check().status == HEALTHY
    assert int(_asked(alone, "SELECT pg_current_xact_id()::text")) == int(before) + 1
