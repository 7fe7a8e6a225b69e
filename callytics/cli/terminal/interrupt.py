"""Ctrl-C while the main thread waits in C code: for the server, for SQLite, or for threads that do.

Python runs signal handlers only when the main thread is back in Python code; a separate thread that reads the wakeup
file descriptor learns of the signal at once
(https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from callytics.cli.terminal.progress import CLEAR
from callytics.cli.terminal.tables import fitted
from callytics.exceptions import Interrupted
from callytics.importer import Cancellation

# How long a command may take to stop by itself. After that it leaves what a crash would leave: nothing is lost.
GRACE_SECONDS = 0.7


@contextmanager
def on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Call ``act`` in another thread as soon as Ctrl-C is pressed. Does nothing unless called in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A pipe, since a handler may only write: it runs between any two instructions of the interpreter.
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
    """Yield what Ctrl-C cancels; if that does not end the command soon, print ``words`` and exit the process.

    Only for commands that may be killed at any moment, since no ``finally`` runs then.
    """
    cancellation = Cancellation()

    def end() -> None:
        lines = "\n".join(fitted([f"Error: {words}"], sys.stderr))
        print(f"{CLEAR if sys.stderr.isatty() else ''}{lines}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(Interrupted.exit_code)

    timers: list[threading.Timer] = []

    def count_down() -> None:
        timer = threading.Timer(GRACE_SECONDS, end)
        timer.daemon = True
        timers.append(timer)
        # The timer first: cancelling may block on a server that hangs.
        timer.start()
        cancellation.cancel()

    try:
        with on_interrupt(count_down):
            yield cancellation
    finally:
        for timer in timers:
            timer.cancel()
