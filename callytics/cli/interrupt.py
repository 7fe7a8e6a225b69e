"""Ctrl-C while the main thread waits in C code: for the server, for SQLite, for threads that do.

Python tells the main thread of a signal when that is back in Python. Here a thread of its own hears of it at once
(https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from callytics.exceptions import Interrupted
from callytics.importer import Cancellation

GRACE_SECONDS = 0.7
"""How long a command may take to end in good order. What it leaves then is what a crash leaves: nothing is lost."""


@contextmanager
def on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in another thread as soon as Ctrl-C is pressed; elsewhere than in the main thread do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    outer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reader, outer, act), daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(outer)
        os.close(writer)
        listener.join()
        os.close(reader)


def _listen(reader: int, outer: int, act: Callable[[], None]) -> None:
    while signals := os.read(reader, 64):
        if outer != -1:
            os.write(outer, signals)
        if signal.SIGINT in signals:
            act()


@contextmanager
def ending_in_time(words: str) -> Iterator[Cancellation]:
    """Yield what Ctrl-C cancels, and end the process soon after it, with these words, even where that does not help.

    Only for commands that may be killed at any moment.
    """
    cancellation = Cancellation()

    def end() -> None:
        print(f"Error: {words}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(Interrupted.exit_code)

    timers: list[threading.Timer] = []

    def count_down() -> None:
        timer = threading.Timer(GRACE_SECONDS, end)
        timer.daemon = True
        timers.append(timer)
        # First the timer: a server that hangs keeps whoever cancels waiting.
        timer.start()
        cancellation.cancel()

    try:
        with on_interrupt(count_down):
            yield cancellation
    finally:
        for timer in timers:
            timer.cancel()
