"""Write rows one by one and note each answer, until stdin ends. Runs beside the service, with its program:

    /opt/callytics/current/bin/python ledger.py pool|plain|reader ENV_FILE

Each line on stdout is a moment of the monotonic clock, an id and what became of it: stored, unknown or refused. Who
reads them keeps them outside the cluster. ``pool`` is the service's own pool, ``plain`` libpq with one connection,
``reader`` reads what a report would, from a standby where there is one.
"""

from __future__ import annotations

import itertools
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg

from callytics.exceptions import CallyticsError, OutcomeUnknown
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings

INSERT = "insert into public.ledger (writer, id) values (%s, %s)"
COUNT = "select count(*) from public.ledger where writer = 'nobody'"
# As the service has them.
STATEMENT_SECONDS, POOL_SECONDS = 15.0, 5.0
PAUSE = 0.01


def through_the_pool(settings: Settings) -> Iterator[Callable[[int], str]]:
    """Yield what stores an id through the service's pool."""
    with PostgreSQLManager(settings, timeout=POOL_SECONDS, statement_timeout=STATEMENT_SECONDS) as manager:

        def store(number: int) -> str:
            try:
                manager.execute_query(INSERT, ("pool", number), fetch="none")
            except OutcomeUnknown:
                return "unknown"
            except (CallyticsError, psycopg.Error):
                return "refused"
            return "stored"

        yield store


def plainly(settings: Settings, *, reading: bool = False) -> Iterator[Callable[[int], str]]:
    """Yield what stores an id by one connection of libpq's, or reads by one, and connects anew when that is lost."""
    parameters = settings.parameters() | ({"target_session_attrs": "prefer-standby"} if reading else {})
    kept: list[psycopg.Connection] = []

    def do(number: int) -> str:
        try:
            if not kept:
                kept.append(psycopg.connect(autocommit=True, **parameters))
        except psycopg.Error:
            return "refused"
        try:
            kept[0].execute(*((COUNT,) if reading else (INSERT, ("plain", number))))
        except psycopg.Error as error:
            with suppress(psycopg.Error):
                kept.pop().close()
            return "refused" if error.sqlstate and not error.sqlstate.startswith(("57P", "08")) else "unknown"
        return "stored"

    yield do


KINDS: dict[str, Callable[[Settings], Iterator[Callable[[int], str]]]] = {
    "pool": through_the_pool,
    "plain": plainly,
    "reader": lambda settings: plainly(settings, reading=True),
}


def main(kind: str, env_file: str) -> None:
    """Go on until whoever started this closes stdin."""
    for do in KINDS[kind](Settings.load(env_file=Path(env_file))):
        for number in itertools.count(1):
            outcome = do(number)
            os.write(1, f"{time.monotonic():.4f} {number} {outcome}\n".encode())
            if select.select([sys.stdin], [], [], PAUSE)[0]:
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
