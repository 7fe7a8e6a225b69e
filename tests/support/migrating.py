"""Migrations forwards and backwards, and how long others had to wait for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2

from callytics.postgres import connect
from callytics.schema import migrate
from callytics.settings import Settings

EXCLUSIVE = """
select distinct l.pid, l.relation from pg_locks as l
where l.mode = 'AccessExclusiveLock' and l.granted and l.locktype = 'relation'
    and l.relation >= 16384 and exists (select from pg_class where oid = l.relation and relkind in ('r', 'p'))
"""


def up(settings: Settings, last: str = "9") -> list[str]:
    """Apply the migrations up to ``last``; return their ids."""
    with migrate.Backend(settings=settings, report=lambda line: None) as backend:
        backend.init_database()
        with backend.lock():
            chosen = backend.to_apply(migrate.read()).filter(lambda migration: migration.id <= last)
            backend.apply_migrations(chosen)
            return [migration.id for migration in chosen]


def down(settings: Settings, first: str = "") -> list[str]:
    """Roll the migrations back, newest first, down to and with ``first``; return their ids."""
    with migrate.Backend(settings=settings, report=lambda line: None) as backend:
        backend.init_database()
        with backend.lock():
            chosen = backend.to_rollback(migrate.read()).filter(lambda migration: migration.id >= first)
            backend.rollback_migrations(chosen)
            return [migration.id for migration in chosen]


@dataclass
class Waits:
    """Seconds: the longest that a reader waited, and the longest that a table was seen locked against readers."""

    reader: float = 0.0
    locked: float = 0.0
    reads: int = 0


@contextmanager
def others_at_work(settings: Settings, query: str) -> Iterator[Waits]:
    """Read all the time, and look at the locks all the time, while the block runs."""
    waits, done = Waits(), threading.Event()
    threads = [
        threading.Thread(target=_read, args=(settings, query, waits, done)),
        threading.Thread(target=_watch, args=(settings, waits, done)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield waits
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _read(settings: Settings, query: str, waits: Waits, done: threading.Event) -> None:
    connection = connect(settings, owner=True)
    connection.autocommit = True
    with connection.cursor() as cursor:
        while not done.is_set():
            started = time.monotonic()
            try:
                cursor.execute(query)
            except psycopg2.errors.UndefinedTable:
                continue
            waits.reader = max(waits.reader, time.monotonic() - started)
            waits.reads += 1
            # Whoever waits is noticed all the same, and the migration has a processor.
            time.sleep(0.005)
    connection.close()


def _watch(settings: Settings, waits: Waits, done: threading.Event) -> None:
    connection = connect(settings, owner=True)
    connection.autocommit = True
    since: dict[tuple[int, int], float] = {}
    with connection.cursor() as cursor:
        while not done.is_set():
            cursor.execute(EXCLUSIVE)
            now = time.monotonic()
            since = {lock: since.get(lock, now) for lock in cursor.fetchall()}
            waits.locked = max([waits.locked, *(now - began for began in since.values())])
            time.sleep(0.005)
    connection.close()
