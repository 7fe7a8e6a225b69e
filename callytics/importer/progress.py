"""Progress on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

BAR_WIDTH = 24
TERMINAL_SECONDS = 0.1
LOG_SECONDS = 10.0


class Display:
    """Shows how far the current step is; `update` may be called from any one thread at a time."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.terminal = self.stream.isatty()
        self._began: dict[str, tuple[float, int]] = {}
        self._shown = time.monotonic()

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.terminal and not self.quiet:
            self._write("\r\033[K")

    def update(self, what: str, done: int, total: int) -> None:
        """Note that `done` of `total` rows of a step are done."""
        now = time.monotonic()
        began, first = self._began.setdefault(what, (now, done))
        interval = TERMINAL_SECONDS if self.terminal else LOG_SECONDS
        if self.quiet or now - self._shown < interval:
            return
        self._shown = now
        rate = (done - first) / (now - began) if now > began else 0.0
        line = progress_line(what, done, total, rate)
        self._write(f"\r\033[K{line}" if self.terminal else f"{line}\n")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def progress_line(what: str, done: int, total: int, rate: float) -> str:
    """Return one line: what, a bar, the share, rows a second, time left."""
    share = done / total if total else 1.0
    bar = ("#" * round(share * BAR_WIDTH)).ljust(BAR_WIDTH, ".")
    left = f", {(total - done) / rate:,.0f} s left" if rate and done < total else ""
    speed = f", {rate:,.0f}/s" if rate else ""
    return f"{what} [{bar}] {share:.0%} of {total:,}{speed}{left}"
