"""The pool for tasks: nothing holds up the loop, what is cancelled stops, transactions stay with their task."""

# What is raised must pass through a transaction that has done something.
# ruff: noqa: PT012

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from psycopg import errors

from callytics.exceptions import DatabaseUnavailable, OutcomeUnknown, PoolExhausted
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from tests.support.pooling import end_sessions, ids, manager_for

INSERT = "INSERT INTO notes (id) VALUES (%s)"
RUNNING = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()
"""


@pytest.fixture
def manager(empty_database: Settings) -> Iterator[PostgreSQLManager]:
    """A pool of two to four connections on a database with one table."""
    with manager_for(empty_database, timeout=5.0) as manager:
        manager.execute_query("CREATE TABLE notes (id int PRIMARY KEY, text text)", fetch="none")
        yield manager
        assert manager.statistics().in_use == 0
        assert manager.statistics().waiting == 0


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a test's coroutine, for half a minute at most."""
    return asyncio.run(asyncio.wait_for(main(), 30))


def test_every_method_has_an_async_counterpart(empty_database: Settings) -> None:
    async def main() -> None:
        async with manager_for(empty_database) as manager:
            await manager.aexecute_query("CREATE TABLE notes (id int PRIMARY KEY, text text)", fetch="none")
            assert await manager.aexecute_query(INSERT, (1,), fetch="none") == 1
            assert await manager.aexecute_query("SELECT id FROM notes") == [{"id": 1}]
            assert await manager.aexecute_query("SELECT id FROM notes", fetch="one") == {"id": 1}
            assert await manager.aexecute_query("SELECT id FROM notes", fetch="val") == 1
            assert await manager.abulk_insert("notes", ["id"], ([number] for number in (2, 3))) == 2
            assert await manager.in_thread(ids, manager) == [1, 2, 3]
            assert await manager.arun(lambda connection, given: given, "result", retries=1) == "result"
            health = await manager.ahealth_check()
            assert (health.status, health.reason) == ("healthy", None)
            with pytest.raises(errors.UniqueViolation):
                await manager.aexecute_query(INSERT, (1,), fetch="none")
        assert (await manager.ahealth_check()).reason == "the pool of connections is not open"

    run(main)


def test_many_tasks_share_few_connections(manager: PostgreSQLManager) -> None:
    async def main() -> list[int]:
        query = "SELECT %s + (SELECT count(*) - 1 FROM pg_sleep(0.02))"
        return await asyncio.gather(*(manager.aexecute_query(query, (n,), fetch="val") for n in range(60)))

    assert run(main) == list(range(60))
    assert manager.statistics().size == 4


def test_the_loop_goes_on_meanwhile(manager: PostgreSQLManager) -> None:
    async def main() -> None:
        ticks = 0
        query = asyncio.create_task(manager.aexecute_query("SELECT pg_sleep(0.5)"))
        while not query.done():
            await asyncio.sleep(0.001)
            ticks += 1
        assert ticks > 20

    run(main)


def test_tasks_and_threads_wait_in_one_queue(manager: PostgreSQLManager) -> None:
    async def main() -> None:
        in_threads = [asyncio.to_thread(manager.execute_query, "SELECT pg_sleep(0.01)") for _ in range(20)]
        in_tasks = [manager.aexecute_query("SELECT pg_sleep(0.01)") for _ in range(20)]
        assert len(await asyncio.gather(*in_threads, *in_tasks)) == 40
        assert manager.statistics().size == 4

    run(main)


def test_transaction_across_awaits(manager: PostgreSQLManager) -> None:
    async def main() -> None:
        async with manager.atransaction(isolation="serializable") as connection:
            await manager.aexecute_query(INSERT, (1,), fetch="none")
            assert await manager.aexecute_query("SHOW transaction_isolation", fetch="val") == "serializable"
            with pytest.raises(ZeroDivisionError):
                async with manager.atransaction() as inner:
                    assert inner is connection
                    await manager.abulk_insert("notes", ["id"], [(2,)])
                    await manager.arun(lambda own: own.cursor().execute(INSERT, (3,)))
                    raise ZeroDivisionError
            async with manager.atransaction():
                await manager.aexecute_query(INSERT, (4,), fetch="none")
            assert await manager.in_thread(ids, manager) == [1, 4]
        with pytest.raises(ZeroDivisionError):
            async with manager.atransaction():
                await manager.aexecute_query(INSERT, (5,), fetch="none")
                raise ZeroDivisionError
        assert await manager.in_thread(ids, manager) == [1, 4]

    run(main)


def test_transaction_of_a_function_in_a_thread_joins(manager: PostgreSQLManager) -> None:
    def store(number: int) -> None:
        with manager.transaction():
            manager.execute_query(INSERT, (number,), fetch="none")

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with manager.atransaction():
                await manager.in_thread(store, 1)
                raise ZeroDivisionError
        await manager.in_thread(store, 2)
        assert await manager.in_thread(ids, manager) == [2]

    run(main)


def test_transaction_is_its_tasks_own(manager: PostgreSQLManager) -> None:
    """A task that is started inside has no part in it, although it inherits the context."""

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with manager.atransaction():
                await manager.aexecute_query(INSERT, (1,), fetch="none")
                await asyncio.create_task(manager.aexecute_query(INSERT, (2,), fetch="none"))
                raise ZeroDivisionError

        async def one(number: int) -> None:
            async with manager.atransaction():
                await manager.aexecute_query(INSERT, (number,), fetch="none")
                await asyncio.sleep(0.01)
                if number % 2:
                    raise ZeroDivisionError

        await asyncio.gather(*map(one, range(10, 30)), return_exceptions=True)
        assert await manager.in_thread(ids, manager) == [2, *range(10, 30, 2)]

    run(main)


def test_functions_in_threads_do_not_starve_transactions(manager: PostgreSQLManager) -> None:
    """More functions than threads, while as many transactions as there are connections want to go on."""

    def twice() -> int:
        with manager.transaction():
            manager.execute_query("SELECT pg_sleep(0.01)")
        return manager.execute_query("SELECT 1", fetch="val")

    async def hold() -> int:
        async with manager.atransaction():
            await manager.aexecute_query("SELECT 1")
            await asyncio.sleep(0.05)
            return await manager.aexecute_query("SELECT 1", fetch="val")

    async def main() -> list[int]:
        return await asyncio.gather(*(hold() if n % 2 else manager.in_thread(twice) for n in range(40)))

    assert run(main) == [1] * 40


def test_cancelled_query_stops_on_the_server(manager: PostgreSQLManager) -> None:
    async def main() -> None:
        task = asyncio.create_task(manager.aexecute_query("SELECT pg_sleep(60)"))
        while not await manager.aexecute_query(RUNNING, fetch="val"):
            await asyncio.sleep(0.01)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 2
        assert await manager.aexecute_query(RUNNING, fetch="val") == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await manager.aexecute_query("SELECT pg_sleep(60)")
        assert await asyncio.gather(*(manager.aexecute_query("SELECT 1", fetch="val") for _ in range(20))) == [1] * 20

    run(main)
    assert manager.statistics().closed == 0


def test_cancelled_function_gets_no_further(manager: PostgreSQLManager) -> None:
    reached = []

    def work() -> None:
        with manager.transaction():
            manager.execute_query(INSERT, (1,), fetch="none")
            reached.append("first")
            time.sleep(0.3)
            manager.execute_query(INSERT, (2,), fetch="none")
            reached.append("second")

    async def main() -> None:
        task = asyncio.create_task(manager.in_thread(work))
        while not reached:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert reached == ["first"]
    assert ids(manager) == []


def test_cancelled_bulk_insert_stores_nothing(manager: PostgreSQLManager) -> None:
    def endless() -> Iterator[tuple[int]]:
        number = 0
        while True:
            number += 1
            yield (number,)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await manager.abulk_insert("notes", ["id"], endless())

    run(main)
    assert ids(manager) == []


def test_cancelled_transaction_is_rolled_back(manager: PostgreSQLManager) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), manager.atransaction():
                await manager.aexecute_query(INSERT, (1,), fetch="none")
                await manager.aexecute_query("SELECT pg_sleep(60)")

    run(main)
    assert ids(manager) == []


def test_cancelled_inside_a_transaction_that_goes_on(manager: PostgreSQLManager) -> None:
    async def main() -> None:
        async with manager.atransaction():
            await manager.aexecute_query(INSERT, (1,), fetch="none")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), manager.atransaction():
                    await manager.aexecute_query(INSERT, (2,), fetch="none")
                    await manager.aexecute_query("SELECT pg_sleep(60)")
            await manager.aexecute_query(INSERT, (3,), fetch="none")

    run(main)
    assert ids(manager) == [1, 3]


def test_cancelling_at_any_moment_loses_no_connection(manager: PostgreSQLManager) -> None:
    async def work(number: int) -> None:
        async with manager.atransaction():
            await manager.aexecute_query(INSERT, (number,), fetch="none")
            async with manager.atransaction():
                await manager.aexecute_query("SELECT pg_sleep(0.002)")
        await manager.aexecute_query("SELECT 1")

    async def cancelled(number: int) -> None:
        task = asyncio.create_task(work(number))
        await asyncio.sleep(number * 0.0003)
        task.cancel()
        await asyncio.wait((task,))

    async def main() -> list[int]:
        await asyncio.gather(*map(cancelled, range(80)))
        # What a cancelled task left behind ends in its thread.
        await asyncio.sleep(0.2)
        return await asyncio.gather(*(manager.aexecute_query("SELECT 1", fetch="val") for _ in range(8)))

    assert run(main) == [1] * 8
    assert manager.statistics().size <= 4


def test_waiting_can_be_cancelled_and_times_out(empty_database: Settings) -> None:
    async def main() -> None:
        async with manager_for(empty_database, 1, 1, timeout=0.3) as manager:
            async with manager.atransaction():
                waiting = asyncio.create_task(manager.aexecute_query("SELECT 1"))
                await asyncio.sleep(0.05)
                assert manager.statistics().waiting == 1
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert manager.statistics().waiting == 0
                with pytest.raises(PoolExhausted, match=r"all connections to the database \(1\)"):
                    await asyncio.create_task(manager.aexecute_query("SELECT 1"))
            assert await manager.aexecute_query("SELECT 1", fetch="val") == 1

    run(main)


def test_lost_connections(manager: PostgreSQLManager) -> None:
    async def main() -> None:
        with pytest.raises(DatabaseUnavailable, match="nothing of the transaction was stored") as caught:
            async with manager.atransaction():
                await manager.aexecute_query(INSERT, (1,), fetch="none")
                await asyncio.to_thread(end_sessions, manager)
                await manager.aexecute_query(INSERT, (2,), fetch="none")
        assert not isinstance(caught.value, OutcomeUnknown)
        with pytest.raises(OutcomeUnknown, match="during COMMIT"):
            async with manager.atransaction():
                await manager.aexecute_query(INSERT, (3,), fetch="none")
                await asyncio.to_thread(end_sessions, manager)
        assert await manager.in_thread(ids, manager) == []

    run(main)


def test_one_pool_serves_one_loop_after_another(manager: PostgreSQLManager) -> None:
    async def main() -> None:
        await asyncio.gather(*(manager.aexecute_query("SELECT 1") for _ in range(10)))

    run(main)
    run(main)
