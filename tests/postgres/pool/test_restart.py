"""PostgreSQL ends, restarts or fails over while fifty callers use the pool."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from callytics.exceptions import DatabaseUnavailable, OutcomeUnknown, PoolExhausted, ReadOnlyServer
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.pooling import eventually, manager_for
from tests.support.servers import private_server, processes_of, settings_for, start_again

pytestmark = pytest.mark.slow

CALLERS = 50
# What is acknowledged must be on the disk.
DURABLE = {"max_connections": "40", "shared_buffers": "32MB", "fsync": "on", "synchronous_commit": "on"}
INSERT = "INSERT INTO notes (id) VALUES (%s)"


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of its own, that may be killed."""
    with private_server(tmp_path_factory.mktemp("durable"), DURABLE) as server:
        yield server


@pytest.fixture
def manager(durable: EmbeddedPostgres) -> Iterator[PostgreSQLManager]:
    """Ten connections to the server that will be killed."""
    settings = settings_for(durable, "notes")
    durable.provide(settings)
    with manager_for(settings, 5, 10, timeout=5.0) as manager:
        manager.execute_query("CREATE TABLE IF NOT EXISTS notes (id int PRIMARY KEY)")
        manager.execute_query("TRUNCATE notes")
        yield manager


class Ledger:
    """What callers were told: stored, not stored, or unknown."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.refused: list[int] = []
        self.unknown: list[int] = []
        self.stop = threading.Event()

    def note(self, number: int, error: BaseException | None) -> None:
        match error:
            case None:
                self.stored.append(number)
            case OutcomeUnknown():
                self.unknown.append(number)
            case DatabaseUnavailable() | PoolExhausted():
                self.refused.append(number)
            case _:
                raise error

    def check(self, manager: PostgreSQLManager) -> None:
        """Nothing that was acknowledged is missing, nothing that was refused is there, nothing is there unasked."""
        there = {row["id"] for row in manager.execute_query("SELECT id FROM notes")}
        assert set(self.stored) <= there
        assert not set(self.refused) & there
        assert there <= set(self.stored) | set(self.unknown)


def kill(server: EmbeddedPostgres) -> None:
    """End the server as a crash does: without a checkpoint and without notice to its sessions."""
    postmaster = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    # Its children notice, and let go of the shared memory.
    assert eventually(lambda: not processes_of(server), 10)


def stop_at_once(server: EmbeddedPostgres) -> None:
    """End the server without a checkpoint; sessions are told."""
    postmaster = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGQUIT)
    assert eventually(lambda: not (server.data / "postmaster.pid").exists(), 10)


def storms(manager: PostgreSQLManager, ledger: Ledger) -> Iterator[Callable[[int], Any]]:
    """Yield ways to store a number: a statement alone, a transaction, rows in bulk."""

    def in_transaction(number: int) -> None:
        with manager.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM notes WHERE id = %s", (number,))
            cursor.execute(INSERT, (number,))

    yield lambda number: manager.execute_query(INSERT, (number,), fetch="none")
    yield in_transaction
    yield lambda number: manager.bulk_insert("notes", ["id"], [(number,)])


def in_threads(manager: PostgreSQLManager, ledger: Ledger, strike: Callable[[], None]) -> None:
    ways = list(storms(manager, ledger))

    def call(caller: int) -> None:
        number = caller
        while not ledger.stop.is_set():
            number += CALLERS
            try:
                ways[caller % len(ways)](number)
            except Exception as error:
                ledger.note(number, error)
                time.sleep(0.01)
            else:
                ledger.note(number, None)

    failures: list[BaseException] = []

    def guarded(caller: int) -> None:
        try:
            call(caller)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        strike()
    finally:
        ledger.stop.set()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


def in_tasks(manager: PostgreSQLManager, ledger: Ledger, strike: Callable[[], None]) -> None:
    async def in_transaction(number: int) -> None:
        async with manager.atransaction():
            await manager.aexecute_query("SELECT count(*) FROM notes WHERE id = %s", (number,))
            await manager.aexecute_query(INSERT, (number,), fetch="none")

    ways: list[Callable[[int], Any]] = [
        lambda number: manager.aexecute_query(INSERT, (number,), fetch="none"),
        in_transaction,
        lambda number: manager.abulk_insert("notes", ["id"], [(number,)]),
    ]

    async def call(caller: int) -> None:
        number = caller
        while not ledger.stop.is_set():
            number += CALLERS
            try:
                await ways[caller % len(ways)](number)
            except Exception as error:
                ledger.note(number, error)
                await asyncio.sleep(0.01)
            else:
                ledger.note(number, None)

    async def main() -> None:
        calls = [asyncio.create_task(call(caller)) for caller in range(CALLERS)]
        try:
            await asyncio.to_thread(strike)
        finally:
            ledger.stop.set()
        await asyncio.wait_for(asyncio.gather(*calls), 20)

    asyncio.run(main())


@pytest.mark.parametrize("end", [kill, stop_at_once])
@pytest.mark.parametrize("callers", [in_threads, in_tasks])
def test_killed_and_restarted_under_fifty_callers(
    manager: PostgreSQLManager,
    durable: EmbeddedPostgres,
    callers: Callable[[PostgreSQLManager, Ledger, Callable[[], None]], None],
    end: Callable[[EmbeddedPostgres], None],
) -> None:
    """Each call ends in a result or a clear error, what was acknowledged is there, and it goes on by itself."""
    ledger = Ledger()
    healed = []

    def strike() -> None:
        assert eventually(lambda: len(ledger.stored) > 200, 10)
        end(durable)
        assert manager.health_check().status == "unhealthy"
        refused = len(ledger.refused)
        assert eventually(lambda: len(ledger.refused) > refused + CALLERS)
        start_again(durable)
        began, before = time.monotonic(), len(ledger.stored)
        assert eventually(lambda: len(ledger.stored) > before + 200, 10)
        healed.append(time.monotonic() - began)
        assert manager.health_check().status == "healthy"

    callers(manager, ledger, strike)
    assert healed[0] < 5
    assert len(ledger.stored) > 400
    ledger.check(manager)
    now = manager.statistics()
    assert (now.in_use, now.waiting) == (0, 0)
    assert now.size <= 10
    repeated = [number for number, times in Counter(ledger.stored).items() if times > 1]
    assert repeated == []


@pytest.mark.quick
def test_a_server_that_takes_no_writes_any_more_is_left(empty_database: Settings) -> None:
    """A refused statement is sent again, to the host that takes writes; a transaction begins anew with the next."""
    settings = replace(empty_database, hosts=("127.0.0.1", "127.0.0.1"))
    with manager_for(settings, 1, 1) as manager:
        manager.execute_query("CREATE TABLE notes (id int PRIMARY KEY)")
        manager.execute_query("SET default_transaction_read_only = on")
        assert manager.execute_query(INSERT, (1,), fetch="none") == 1
        manager.execute_query("SET default_transaction_read_only = on")
        with pytest.raises(ReadOnlyServer):
            manager.bulk_insert("notes", ["id"], [(2,)])
        assert manager.bulk_insert("notes", ["id"], [(2,)]) == 1
        assert manager.statistics().opened == 3
    with manager_for(empty_database, 1, 1) as alone:
        alone.execute_query("SET default_transaction_read_only = on")
        # There is no other host to send it to; but the session was set so, and others need not be.
        with pytest.raises(ReadOnlyServer):
            alone.execute_query(INSERT, (3,))
        assert alone.execute_query(INSERT, (3,), fetch="none") == 1
        assert alone.statistics().opened == 2


@pytest.fixture
def standby(durable: EmbeddedPostgres) -> Iterator[Path]:
    """A streaming standby of the durable server on 127.0.0.2, at the same port; the folder of its cluster."""
    data = durable.home / "standby"
    run(durable, "pg_basebackup", "-d", durable.superuser_conninfo(), "-D", data, "-R", "-c", "fast")
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write("listen_addresses = '127.0.0.2'\n")
    run(durable, "pg_ctl", "start", "-D", data, "-w", "-s", "-l", durable.home / "standby.log")
    yield data
    run(durable, "pg_ctl", "stop", "-D", data, "-w", "-s", "-m", "immediate")


def run(server: EmbeddedPostgres, program: str, *arguments: str | Path) -> None:
    """Run one of PostgreSQL's programs as the server's account."""
    server._run(server._within_reach(server._find_server()), program, *arguments)


def asked(connection: psycopg2.extensions.connection, query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        (value,) = cursor.fetchone() or (None,)
        return value


def test_failover_to_a_promoted_standby(durable: EmbeddedPostgres, manager: PostgreSQLManager, standby: Path) -> None:
    settings = replace(manager.settings, hosts=("127.0.0.2", "127.0.0.1"))
    with manager_for(settings, 3, 3) as several:
        address = "SELECT host(inet_server_addr())"
        assert several.execute_query(address, fetch="val") == "127.0.0.1"
        several.execute_query(INSERT, (1,), fetch="none")
        received = "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication"
        superuser = psycopg2.connect(durable.superuser_conninfo())
        superuser.autocommit = True
        assert eventually(lambda: asked(superuser, received))
        superuser.close()
        stop_at_once(durable)
        with pytest.raises(DatabaseUnavailable):
            several.execute_query(INSERT, (2,), fetch="none")
        assert several.health_check().status == "unhealthy"
        run(durable, "pg_ctl", "promote", "-D", standby, "-w", "-s")
        assert several.execute_query(INSERT, (3,), fetch="none") == 1
        assert several.execute_query(address, fetch="val") == "127.0.0.2"
        assert several.execute_query("SELECT id FROM notes ORDER BY id") == [{"id": 1}, {"id": 3}]
        assert several.health_check().status == "healthy"
    start_again(durable)
