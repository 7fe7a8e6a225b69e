"""A PostgreSQL that hangs: its port accepts, nothing answers, and it may go on at any moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from callytics.exceptions import DatabaseUnavailable
from callytics.postgres import PostgreSQLManager
from callytics.postgres.pool.cancelling import CANCEL_PATIENCE
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.pooling import eventually, ids, manager_for
from tests.support.servers import frozen, private_server, settings_for

pytestmark = pytest.mark.slow

INSERT = "INSERT INTO notes (id) VALUES (%s)"


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of its own, that may be stopped."""
    with private_server(tmp_path_factory.mktemp("hanging")) as server:
        server.provide(settings_for(server, "notes"))
        yield server


@pytest.fixture
def manager(hanging: EmbeddedPostgres) -> Iterator[PostgreSQLManager]:
    """Two to four connections to the server that will hang."""
    with manager_for(settings_for(hanging, "notes"), timeout=2.0) as manager:
        manager.execute_query("DROP TABLE IF EXISTS notes; CREATE TABLE notes (id int PRIMARY KEY)", fetch="none")
        yield manager
        assert eventually(lambda: manager.statistics().in_use == 0)


async def longest_pause(meanwhile: Awaitable[None]) -> float:
    """Return the longest time for which the loop did not come round while something ran."""
    task = asyncio.ensure_future(meanwhile)
    pause, last = 0.0, time.monotonic()
    while not task.done():
        await asyncio.sleep(0.005)
        pause, last = max(pause, time.monotonic() - last), time.monotonic()
    await task
    return pause


def statement(manager: PostgreSQLManager) -> Awaitable[object]:
    return manager.aexecute_query("SELECT 1")


def function(manager: PostgreSQLManager) -> Awaitable[object]:
    return manager.in_thread(ids, manager)


async def inside_a_transaction(manager: PostgreSQLManager) -> None:
    async with manager.atransaction():
        await manager.aexecute_query(INSERT, (1,), fetch="none")


async def function_inside_a_transaction(manager: PostgreSQLManager) -> None:
    async with manager.atransaction():
        await manager.in_thread(ids, manager)


def bulk(manager: PostgreSQLManager) -> Awaitable[object]:
    return manager.abulk_insert("notes", ["id"], [(1,)])


@pytest.mark.parametrize("work", [statement, function, inside_a_transaction, function_inside_a_transaction, bulk])
def test_what_is_cancelled_ends_and_holds_up_nobody(
    manager: PostgreSQLManager, hanging: EmbeddedPostgres, work: Callable[[PostgreSQLManager], Awaitable[object]]
) -> None:
    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await work(manager)

    async def main() -> None:
        began = time.monotonic()
        assert await longest_pause(cancelled()) < 1
        assert time.monotonic() - began < 2 * CANCEL_PATIENCE + 2

    with frozen(hanging):
        asyncio.run(main())
    assert ids(manager) == []
    assert manager.execute_query(INSERT, (2,), fetch="none") == 1


def test_it_goes_on_by_itself(manager: PostgreSQLManager, hanging: EmbeddedPostgres) -> None:
    """Who was not cancelled gets the answer, late."""

    async def main() -> None:
        with frozen(hanging):
            asked = [asyncio.ensure_future(manager.aexecute_query("SELECT 1", fetch="val")) for _ in range(2)]
            assert (await manager.ahealth_check()).status == "unhealthy"
        assert await asyncio.gather(*asked) == [1, 1]
        assert (await manager.ahealth_check()).status == "healthy"

    asyncio.run(main())


def test_a_pool_that_is_closed_meanwhile_waits_for_nobody(hanging: EmbeddedPostgres) -> None:
    manager = manager_for(settings_for(hanging, "notes"))
    manager.initialize()

    async def main() -> None:
        asked = asyncio.ensure_future(manager.aexecute_query("SELECT 1"))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await manager.aclose()
        assert time.monotonic() - began < 1
        asked.cancel()
        with suppress(asyncio.CancelledError, DatabaseUnavailable):
            await asked

    with frozen(hanging):
        asyncio.run(main())
