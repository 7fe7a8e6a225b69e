"""Reads go to a standby that has what they need, and to the primary whatever else becomes of the standby."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import psycopg.sql
import pytest

from callytics.postgres import PostgreSQLManager, standbys
from callytics.postgres.standbys import Reads
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.pooling import eventually, in_background
from tests.support.servers import (
    VOLATILE,
    StandbyServer,
    execute,
    frozen,
    private_server,
    settings_for,
    standby_of,
)

pytestmark = pytest.mark.slow

PRIMARY, STANDBY, OTHER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
WHERE = "SELECT host(inet_server_addr()) AS host, (SELECT coalesce(max(id), 0) FROM notes) AS last"
BOUND = 1


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server whose commits are flushed before they are acknowledged."""
    with private_server(tmp_path_factory.mktemp("primary"), {**VOLATILE, "synchronous_commit": "on"}) as server:
        settings = settings_for(server, "calls")
        server.provide(settings)
        execute(settings, "CREATE TABLE notes (id int PRIMARY KEY); GRANT ALL ON notes TO callytics_user")
        yield server


@pytest.fixture(scope="module")
def standby(primary: EmbeddedPostgres) -> Iterator[StandbyServer]:
    """A standby of it."""
    with standby_of(primary, STANDBY) as standby:
        yield standby


@pytest.fixture
def settings(primary: EmbeddedPostgres, standby: StandbyServer) -> Settings:
    """The primary to write to, and the standby to read from."""
    execute(settings_for(primary, "calls"), "DELETE FROM notes")
    return replace(
        settings_for(primary, "calls"),
        read_hosts=(STANDBY,),
        read_lag=BOUND,
        min_connections=1,
        max_connections=4,
    )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standbys that were away are looked at again soon."""
    monkeypatch.setattr(standbys, "REST_SECONDS", 0.5)


def store(manager: PostgreSQLManager, number: int) -> Awaitable[int]:
    return manager.aexecute_query("INSERT INTO notes VALUES (%s)", (number,), fetch="none")


async def seen(reads: Reads, *, fresh: bool = False) -> dict[str, Any]:
    """Return which server answers, and the last note that it has."""
    row = await reads.read(lambda manager: manager.aexecute_query(WHERE, fetch="one"), fresh=fresh)
    assert row is not None
    return dict(row)


@asynccontextmanager
async def reading(settings: Settings) -> Any:
    async with PostgreSQLManager(settings) as manager:
        reads = Reads(manager)
        await reads.aopen()
        try:
            assert await until(lambda: _reads_there(reads))
            yield manager, reads
        finally:
            await reads.aclose()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def _reads_there(reads: Reads) -> bool:
    return (await seen(reads))["host"] != PRIMARY


def on_standby(standby: StandbyServer, primary: EmbeddedPostgres, statement: str) -> Any:
    """Run a statement as its superuser; return the first value where it returns rows."""
    conninfo = f"{primary.superuser_conninfo()} hostaddr={standby.address} host={standby.address}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


@contextmanager
def cut_off(standby: StandbyServer, primary: EmbeddedPostgres) -> Iterator[None]:
    """Let a standby receive nothing."""
    follows = on_standby(standby, primary, "SHOW primary_conninfo")
    follow(standby, primary, "")
    try:
        yield
    finally:
        follow(standby, primary, follows)


def follow(standby: StandbyServer, primary: EmbeddedPostgres, conninfo: str) -> None:
    on_standby(standby, primary, f"ALTER SYSTEM SET primary_conninfo = {psycopg.sql.quote(conninfo)}")
    on_standby(standby, primary, "SELECT pg_reload_conf()")


@contextmanager
def paused(standby: StandbyServer, primary: EmbeddedPostgres) -> Iterator[None]:
    """Let a standby receive and not show."""
    on_standby(standby, primary, "SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        on_standby(standby, primary, "SELECT pg_wal_replay_resume()")


def test_what_was_stored_a_moment_ago_is_read_by_whoever_reads_fresh(
    primary: EmbeddedPostgres, standby: StandbyServer, settings: Settings
) -> None:
    """Stored by another process; now and then the standby shows nothing new."""

    async def act() -> tuple[int, int]:
        async with reading(settings) as (_, reads), PostgreSQLManager(replace(settings, read_hosts=())) as other:
            for number in range(1, 201):
                if number % 50 == 0:
                    on_standby(standby, primary, "SELECT pg_wal_replay_pause()")
                if number % 50 == 10:
                    on_standby(standby, primary, "SELECT pg_wal_replay_resume()")
                await store(other, number)
                assert (await seen(reads, fresh=True))["last"] == number
                await asyncio.sleep(0.005)
                await seen(reads, fresh=True)
            return reads.by_standby, reads.by_primary

    by_standby, by_primary = asyncio.run(act())
    assert by_standby > 100
    assert by_primary >= 40


def test_others_read_what_is_older_than_the_bound(
    primary: EmbeddedPostgres, standby: StandbyServer, settings: Settings
) -> None:
    """Through pauses of all lengths; the standby's answers were older, but never by more than that."""
    acknowledged: list[float] = [0.0]
    over = threading.Event()

    def write() -> None:
        with PostgreSQLManager(replace(settings, read_hosts=())) as manager:
            while not over.wait(0.01):
                manager.execute_query("INSERT INTO notes VALUES (%s)", (len(acknowledged),), fetch="none")
                acknowledged.append(time.monotonic())

    def pause() -> None:
        for seconds in (0.3, 0.7, 1.5, 2.5):
            with paused(standby, primary):
                time.sleep(seconds)
            time.sleep(0.3)
        over.set()

    async def act() -> list[tuple[str, float]]:
        found = []
        async with reading(settings) as (_, reads):
            while not over.is_set():
                began = time.monotonic()
                one = await seen(reads)
                missed = [moment for moment in acknowledged[one["last"] + 1 :] if moment < began]
                found.append((one["host"], began - missed[0] if missed else 0.0))
                await asyncio.sleep(0.002)
        return found

    with in_background(write), in_background(pause):
        found = asyncio.run(act())
    ages = [age for host, age in found if host == STANDBY]
    assert max(ages) < BOUND
    assert max(ages) > BOUND * 0.6
    assert max(age for host, age in found if host == PRIMARY) == 0
    assert {host for host, _ in found} == {PRIMARY, STANDBY}


def test_a_standby_that_is_cut_off_is_read_from_only_while_it_lacks_nothing(
    primary: EmbeddedPostgres, standby: StandbyServer, settings: Settings
) -> None:
    """Nor does one that hears nothing of an idle primary."""

    async def act() -> None:
        async with reading(settings) as (manager, reads):
            await asyncio.sleep(BOUND + 0.5)
            assert (await seen(reads))["host"] == STANDBY
            with cut_off(standby, primary):
                assert await until(lambda: _is_alone(primary))
                await store(manager, 1)
                assert (await seen(reads, fresh=True)) == {"host": PRIMARY, "last": 1}
                await asyncio.sleep(BOUND + 0.1)
                assert await seen(reads) == {"host": PRIMARY, "last": 1}
                assert reads.standbys[0].state == "behind"
            assert await until(lambda: _reads_there(reads))

    asyncio.run(act())


async def _is_alone(primary: EmbeddedPostgres) -> bool:
    with psycopg.connect(primary.superuser_conninfo(), autocommit=True) as connection:
        return connection.execute("SELECT 1 FROM pg_stat_replication").fetchone() is None


def test_reads_go_on_for_as_long_as_a_standby_may_lag_where_there_is_no_primary(
    primary: EmbeddedPostgres, settings: Settings
) -> None:
    async def act() -> None:
        async with reading(replace(settings, read_lag=20)) as (manager, reads):
            await store(manager, 1)
            assert await until(lambda: _shows(reads, 1))
            with frozen(primary):
                # Past the half of it, when the primary is asked again.
                while time.monotonic() < reads.told._positions[-1][0] + 12:
                    host, seconds = await _timed(reads)
                    assert (host, seconds < 1) == (STANDBY, True)
                    await asyncio.sleep(0.1)

    asyncio.run(act())


async def _shows(reads: Reads, last: int) -> bool:
    return await seen(reads) == {"host": STANDBY, "last": last}


async def _timed(reads: Reads) -> tuple[str, float]:
    began = time.monotonic()
    found = await seen(reads)
    return found["host"], time.monotonic() - began


def test_a_standby_that_is_stopped_costs_nobody_more_than_a_moment(standby: StandbyServer, settings: Settings) -> None:
    async def act() -> None:
        async with reading(settings) as (_, reads):
            standby.stop()
            try:
                taken = []
                for _ in range(50):
                    host, seconds = await _timed(reads)
                    assert host == PRIMARY
                    taken.append(seconds)
                    await asyncio.sleep(0.02)
                # A busy machine itself may hold one up.
                assert sorted(taken)[-2] < 0.5
                assert reads.standbys[0].state == "away"
            finally:
                standby.start()
            assert await until(lambda: _reads_there(reads))

    asyncio.run(act())


def test_a_standby_that_hangs_costs_a_second_once(standby: StandbyServer, settings: Settings) -> None:
    async def act() -> None:
        async with reading(settings) as (_, reads):
            with frozen(standby):
                first = await asyncio.gather(*(_timed(reads) for _ in range(8)))
                assert {host for host, _ in first} == {PRIMARY}
                assert max(seconds for _, seconds in first) < standbys.ASK_SECONDS + 0.7
                for _ in range(40):
                    host, seconds = await _timed(reads)
                    assert (host, seconds < 0.5) == (PRIMARY, True)
                    await asyncio.sleep(0.05)
            assert await until(lambda: _reads_there(reads))

    asyncio.run(act())


def test_what_hangs_half_way_is_read_from_the_primary(
    standby: StandbyServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standbys, "READ_SECONDS", 0.5)

    async def slowly(manager: PostgreSQLManager) -> Any:
        await manager.aexecute_query("SELECT pg_sleep(2) WHERE pg_is_in_recovery()")
        return await manager.aexecute_query(WHERE, fetch="one")

    async def act() -> None:
        async with reading(settings) as (_, reads):
            began = time.monotonic()
            assert (await reads.read(slowly))["host"] == PRIMARY
            assert time.monotonic() - began < 1.5
            assert (await seen(reads))["host"] == STANDBY

    asyncio.run(act())


def test_a_standby_that_was_promoted_is_read_from_no_more(primary: EmbeddedPostgres, settings: Settings) -> None:
    async def act(promoted_one: StandbyServer) -> None:
        async with reading(replace(settings, read_hosts=(OTHER,))) as (manager, reads):
            promoted_one.run("pg_ctl", "promote", "-w", "-s")
            # Its log goes further than the primary's now.
            at_promoted = replace(settings, hosts=(OTHER,), read_hosts=())
            async with PostgreSQLManager(at_promoted) as promoted:
                for number in range(1000, 1050):
                    await store(promoted, number)
            await store(manager, 1)
            for _ in range(20):
                assert await seen(reads) == {"host": PRIMARY, "last": 1}
                await asyncio.sleep(0.05)
            assert reads.standbys[0].state == "away"

    with standby_of(primary, OTHER) as other:
        asyncio.run(act(other))


def test_after_a_failover_a_standby_is_read_from_once_it_has_noted_the_new_timeline(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Before that its log may be another one than the new primary's, however far it goes."""

    async def act(settings: Settings, follower: StandbyServer) -> None:
        async with PostgreSQLManager(settings) as manager:
            reads = Reads(manager)
            await reads.aopen()
            for number in range(1, 60):
                await store(manager, number)
                assert (await seen(reads))["last"] == number
                await asyncio.sleep(0.02)
            assert (reads.standbys[0].state, reads.by_standby) == ("apart", 0)
            on_standby(promoted, server, "CHECKPOINT")
            assert await until(lambda: _noted(reads, follower))
            await reads.aclose()

    async def _noted(reads: Reads, follower: StandbyServer) -> bool:
        on_standby(follower, server, "CHECKPOINT")
        return (await seen(reads, fresh=True))["host"] == OTHER

    options = {**VOLATILE, "synchronous_commit": "on"}
    with private_server(tmp_path_factory.mktemp("former"), options) as server:
        settings = settings_for(server, "calls")
        server.provide(settings)
        execute(settings, "CREATE TABLE notes (id int PRIMARY KEY); GRANT ALL ON notes TO callytics_user")
        with standby_of(server, STANDBY) as promoted, standby_of(server, OTHER) as follower:
            conninfo = on_standby(follower, server, "SHOW primary_conninfo")
            follow(follower, server, conninfo.replace(f"host={PRIMARY}", f"host={STANDBY}"))
            assert eventually(lambda: on_standby(promoted, server, "SELECT count(*) FROM pg_stat_replication") == 1, 20)
            server.stop()
            promoted.run("pg_ctl", "promote", "-w", "-s")
            asyncio.run(act(replace(settings, hosts=(STANDBY,), read_hosts=(OTHER,), min_connections=1), follower))
            server.start()


def test_without_standbys_nobody_asks_for_any(settings: Settings) -> None:
    async def act() -> None:
        async with PostgreSQLManager(replace(settings, read_hosts=())) as manager:
            reads = Reads(manager)
            before = manager.statistics().queries
            assert (await seen(reads))["host"] == PRIMARY
            assert manager.statistics().queries == before + 1

    asyncio.run(act())
