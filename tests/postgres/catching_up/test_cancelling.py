"""Cancelling: what a command's workers wait for on the server ends with it, whichever command it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import psycopg2
import pytest

from callytics.exceptions import Interrupted
from callytics.importer import Cancellation, sync_files
from callytics.settings import Settings
from tests.support.installation import Installation, contents

SECONDS = 20.0
"""Longer than a cancelled command may take; the table stays locked meanwhile."""
WAITING = "select count(*) from pg_locks where not granted and relation = 'audio_files'::regclass"
COMMANDS: dict[str, Callable[[Installation], object]] = {
    "verify": lambda office: office.verify(),
    "sync": lambda office: office.sync(dry_run=True),
    "undo": lambda office: office.undo(dry_run=True),
}


@contextmanager
def locked(settings: Settings) -> Iterator[Callable[[], None]]:
    """Keep everybody from a table; yields what returns when somebody waits for it."""
    with closing(psycopg2.connect(settings.conninfo(owner=True))) as holder, holder.cursor() as cursor:
        cursor.execute("lock table audio_files in access exclusive mode")

        def somebody_waits() -> None:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                cursor.execute(WAITING)
                if cursor.fetchall() != [(0,)]:
                    return
                time.sleep(0.02)
            raise AssertionError("nobody waited for the table")

        yield somebody_waits


@pytest.mark.parametrize("command", COMMANDS)
def test_workers_that_wait_on_the_server_are_cancelled(command: str, office: Installation) -> None:
    """It ends at once, from any thread, with nothing changed; the same command then works."""
    before = contents(office.connection)
    cancellation = Cancellation()
    cancelled = replace(office, options=replace(office.options, cancellation=cancellation))
    raised: list[BaseException] = []

    def run() -> None:
        try:
            COMMANDS[command](cancelled)
        except Interrupted as error:
            raised.append(error)

    with locked(office.settings) as somebody_waits:
        thread = threading.Thread(target=run)
        thread.start()
        somebody_waits()
        cancellation.cancel()
        thread.join(SECONDS)
        ended = not thread.is_alive()
    thread.join()
    assert ended
    assert [str(error).partition(";")[0] for error in raised] == ["interrupted"]
    assert contents(office.connection) == before
    assert COMMANDS[command](office).exit_code == 0  # type: ignore[attr-defined]


def test_progress_of_a_sync_is_told_table_by_table(office: Installation) -> None:
    """Every table's comparison comes to its end, whichever worker makes it."""
    told: dict[str, tuple[int, int]] = {}
    sync_files(
        office.settings,
        office.files,
        office.options,
        lambda what, done, total: told.update({what: (done, total)}),
        dry_run=True,
    )
    assert {"compare audio_files", "compare transcriptions"} <= set(told)
    assert all(done == total for what, (done, total) in told.items() if what.startswith("compare"))
