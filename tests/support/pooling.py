"""What the tests of the pool share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings


def manager_for(settings: Settings, low: int = 2, high: int = 4, **options: Any) -> PostgreSQLManager:
    """Return a pool of few connections for whoever owns the tables."""
    return PostgreSQLManager(replace(settings, min_connections=low, max_connections=high), owner=True, **options)


def ids(manager: PostgreSQLManager) -> list[int]:
    """Return which notes are stored."""
    return [row["id"] for row in manager.execute_query("SELECT id FROM notes ORDER BY id")]


def sessions(manager: PostgreSQLManager) -> int:
    """Return how many sessions the server has for the database, this one included."""
    count: int = manager.execute_query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'",
        fetch="val",
    )
    return count


def end_sessions(manager: PostgreSQLManager) -> None:
    """End every session of the database but one, by a connection that is not the next to be used."""
    with manager.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait until something is so, and tell whether it came to be."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def in_background(function: Callable[[], Any]) -> Iterator[None]:
    """Run a function in a thread meanwhile, and wait for its end."""
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
        assert not thread.is_alive()
