"""Write rows one by one, or read, and note each answer, until stdin ends. Runs beside the service, with its program:

    /opt/callytics/current/bin/python ledger.py pool|plain|reader|served|kept|anew ENV_FILE FIRST_HOST

Each line on stdout is when it began and ended by the monotonic clock, an id and what became of it: stored, unknown or
refused. Who reads them keeps them outside the cluster. ``pool`` is the service's own pool, ``plain`` libpq with one
connection, ``reader`` reads from a standby where there is one, as libpq finds it, and ``served`` as the service reads
calls, from standbys that are recent enough.

``served``, ``kept`` and ``anew`` read the newest id of ``pool``; the last two where the pool writes: the one with
sessions that stay, the other with a pool of its own each time, which tries FIRST_HOST before the others.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg

from callytics.exceptions import CallyticsError, OutcomeUnknown
from callytics.postgres import PostgreSQLManager
from callytics.postgres.standbys import Reads
from callytics.settings import Settings

INSERT = "insert into failover.ledger (writer, id) values (%s, %s)"
COUNT = "select count(*) from failover.ledger where writer = 'nobody'"
NEWEST = "select coalesce(max(id), 0) from failover.ledger where writer = 'pool'"
# As the service has them.
STATEMENT_SECONDS, POOL_SECONDS = 15.0, 5.0
PAUSE, ANEW_PAUSE = 0.01, 0.3
# What says, as a mere warning, that nobody waited for a standby.
CANCELLED = "SyncRepWaitForLSN"
Told = tuple[int, str]


def _pool(settings: Settings) -> PostgreSQLManager:
    return PostgreSQLManager(settings, timeout=POOL_SECONDS, statement_timeout=STATEMENT_SECONDS)


def through_the_pool(settings: Settings) -> Iterator[Callable[[int], Told]]:
    """Yield what stores an id through the service's pool."""
    with _pool(settings) as manager:

        def store(number: int) -> Told:
            try:
                manager.execute_query(INSERT, ("pool", number), fetch="none")
            except OutcomeUnknown:
                return number, "unknown"
            except (CallyticsError, psycopg.Error):
                return number, "refused"
            return number, "stored"

        yield store


def newest(settings: Settings) -> Iterator[Callable[[int], Told]]:
    """Yield what reads the newest id through the service's pool."""
    with _pool(settings) as manager:

        def read(_number: int) -> Told:
            try:
                return manager.execute_query(NEWEST, fetch="val"), "stored"
            except (CallyticsError, psycopg.Error):
                return 0, "refused"

        yield read


def newest_served(settings: Settings) -> Iterator[Callable[[int], Told]]:
    """Yield what reads the newest id as the service's reports are read."""
    primary = _pool(settings)
    reads = Reads(primary)

    async def once() -> Told:
        # What looks after standbys goes on meanwhile.
        await asyncio.sleep(PAUSE)
        try:
            return await reads.read(lambda manager: manager.aexecute_query(NEWEST, fetch="val")), "stored"
        except (CallyticsError, psycopg.Error):
            return 0, "refused"

    with asyncio.Runner() as runner:
        runner.run(primary.ainitialize())
        runner.run(reads.aopen())
        yield lambda _number: runner.run(once())


def newest_anew(settings: Settings) -> Iterator[Callable[[int], Told]]:
    """Yield what reads the newest id through a pool that is opened for that."""

    def read(number: int) -> Told:
        time.sleep(ANEW_PAUSE)
        try:
            # To its end, which closes the pool.
            [told] = [do(number) for do in newest(replace(settings, min_connections=1))]
        except CallyticsError:
            return 0, "refused"
        return told

    yield read


def plainly(settings: Settings, *, reading: bool = False) -> Iterator[Callable[[int], Told]]:
    """Yield what stores an id by one connection of libpq's, or reads by one, and connects anew when that is lost.

    As libpq's users have to, it looks at the warnings, too.
    """
    parameters = settings.parameters() | ({"target_session_attrs": "prefer-standby"} if reading else {})
    kept: list[psycopg.Connection] = []
    warned: list[bool] = []

    def note(warning: psycopg.errors.Diagnostic) -> None:
        warned.append(warning.source_function == CANCELLED)

    def do(number: int) -> Told:
        warned.clear()
        try:
            if not kept:
                kept.append(psycopg.connect(autocommit=True, **parameters))
                kept[0].add_notice_handler(note)
        except psycopg.Error:
            return number, "refused"
        try:
            kept[0].execute(*((COUNT,) if reading else (INSERT, ("plain", number))))
        except psycopg.Error as error:
            with suppress(psycopg.Error):
                kept.pop().close()
            return number, "refused" if error.sqlstate and not error.sqlstate.startswith(("57P", "08")) else "unknown"
        return number, "unknown" if any(warned) else "stored"

    yield do


KINDS: dict[str, Callable[[Settings], Iterator[Callable[[int], Told]]]] = {
    "pool": through_the_pool,
    "plain": plainly,
    "reader": lambda settings: plainly(settings, reading=True),
    "served": newest_served,
    "kept": newest,
    "anew": newest_anew,
}


def main(kind: str, env_file: str, first: str) -> None:
    """Go on until whoever started this closes stdin."""
    settings = Settings.load(env_file=Path(env_file))
    if kind == "anew":
        settings = replace(settings, hosts=(first, *(one for one in settings.hosts if one != first)))
    if kind == "served":
        settings = replace(settings, read_hosts=settings.hosts)
    for do in KINDS[kind](settings):
        for asked in itertools.count(1):
            began = time.monotonic()
            number, outcome = do(asked)
            os.write(1, f"{began:.4f} {time.monotonic():.4f} {number} {outcome}\n".encode())
            if select.select([sys.stdin], [], [], PAUSE)[0]:
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
