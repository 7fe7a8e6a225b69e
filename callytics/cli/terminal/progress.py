"""Progress on stderr: one bar per step on a terminal, occasional lines elsewhere, or events as lines of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

import click

from callytics.cli.terminal.tables import USUAL, clipped, fitted, terminal_width, width
from callytics.importer import PHASE
from callytics.postgres.text import shown, shown_json

# The bars that are tried, the widest first, and the room in which a step can still be told from others.
BAR_WIDTHS = (20, 10, 0)
LEAST_STEP = 18
BETWEEN = " · "
# Goes to the beginning of the line and empties it.
CLEAR = "\r\033[K"
# How often each kind of reader gets news: a terminal is redrawn, a log grows, a program parses each event.
TERMINAL_SECONDS = 0.1
LOG_SECONDS = 10.0
EVENT_SECONDS = 1.0
# Without a terminal, the end of a step gets a line only if the step took this long.
SLOW_SECONDS = 1.0
# Steps are called by a word and a name, but for these.
TWO_WORDS = ("foreign key",)


@dataclass
class Tracked:
    """A step in progress: when it started, with how many rows already done, and how far it is."""

    what: str
    began: float
    first: int
    now: float
    done: int
    total: int

    @property
    def seconds(self) -> float:
        """Return how long it has been running."""
        return self.now - self.began

    @property
    def rate(self) -> float:
        """Rows per second."""
        return (self.done - self.first) / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds left at this rate; None if that can't be estimated."""
        return (self.total - self.done) / self.rate if self.rate and self.total > 1 else None

    @property
    def finished(self) -> bool:
        """Whether it is done. The end of a phase is not the end of the step."""
        return self.done >= self.total > 0 and PHASE not in self.what

    def event(self) -> dict[str, object]:
        """Return the step as ``--json`` shows it; ``phase`` is the server's own name for it."""
        what, _, phase = self.what.partition(PHASE)
        step = next((words for words in TWO_WORDS if what.startswith(words)), what.partition(" ")[0])
        return {
            "event": "finished" if self.finished else "progress",
            "step": step,
            "name": what[len(step) + 1 :],
            "phase": phase or None,
            "done": self.done,
            "total": self.total,
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 1),
            "seconds_left": None if self.left is None else round(self.left, 1),
        }


class Display:
    """Shows the progress of the current steps. ``update`` may be called from any thread, but from one at a time."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None, *, events: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.terminal = self.stream.isatty() and not events
        self.events = events
        self._tracked: dict[str, Tracked] = {}
        self._shown: dict[str, float] = {"": time.monotonic()}

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.terminal and not self.quiet:
            self._write(CLEAR)

    def update(self, what: str, done: int, total: int) -> None:
        """Record that ``done`` of ``total`` rows of a step are done, or whatever unit the server counts in."""
        now = time.monotonic()
        step = self._tracked.setdefault(what, Tracked(what, now, done, now, done, total))
        step.now, step.done, step.total = now, done, total
        if not self.quiet:
            show: Callable[[Tracked], None] = (
                self._event if self.events else self._bars if self.terminal else self._line
            )
            show(step)
        if step.finished:
            self._forget(what)

    def say(self, line: str) -> None:
        """Write a line of its own at once, off a terminal too."""
        if self.quiet:
            return
        if self.events:
            self._write(shown_json(json.dumps({"event": "notice", "text": line}, ensure_ascii=False)) + "\n")
        else:
            said = "\n".join(fitted([line], self.stream))
            self._write(f"{CLEAR if self.terminal else ''}{said}\n")

    def ask(self, question: str) -> None:
        """Ask a question below the bars, and raise click.Abort unless the answer is yes."""
        if self.terminal and not self.quiet:
            self._write(CLEAR)
        click.confirm(question, abort=True, err=True)

    def _forget(self, what: str) -> None:
        for name in [name for name in self._tracked if name == what or name.startswith(f"{what}{PHASE}")]:
            del self._tracked[name]

    def _due(self, key: str, seconds: float) -> bool:
        """Tell whether something was last shown that long ago; if so, it counts as shown now."""
        now = time.monotonic()
        due = now - self._shown.get(key, 0.0) >= seconds
        if due:
            self._shown[key] = now
        return due

    def _event(self, step: Tracked) -> None:
        if step.finished or self._due(step.what, EVENT_SECONDS):
            self._write(shown_json(json.dumps(step.event(), ensure_ascii=False)) + "\n")

    def _bars(self, _: Tracked) -> None:
        if self._due("", TERMINAL_SECONDS):
            steps = [step for step in self._tracked.values() if not step.finished]
            # One column less than there are: a line that wraps could not be drawn over.
            self._write(f"{CLEAR}{bars_line(steps, (terminal_width(self.stream) or USUAL) - 1)}")

    def _line(self, step: Tracked) -> None:
        if step.finished and step.seconds >= SLOW_SECONDS:
            self._write(f"{shown(step.what)}: done in {step.seconds:,.1f} s{_rate(step)}\n")
        elif self._due("", LOG_SECONDS):
            self._write("".join(f"{progress_line(step)}\n" for step in self._tracked.values() if not step.finished))

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def bars_line(steps: Sequence[Tracked], room: int) -> str:
    """Return all steps as one line that fits: with shorter bars, without, or briefly, the first ones at least.

    Where a name is cut there is a mark, and a number says how many steps are left out.
    """
    if not steps:
        return ""
    for bar in BAR_WIDTHS:
        line = BETWEEN.join(progress_line(step, bar) for step in steps)
        if width(line) <= room:
            return line
    for many in range(len(steps), 1, -1):
        more = f" +{len(steps) - many}" if many < len(steps) else ""
        each = (room - len(more) + len(BETWEEN)) // many - len(BETWEEN)
        if each >= LEAST_STEP:
            return BETWEEN.join(_brief(step, each) for step in steps[:many]) + more
    more = f" +{len(steps) - 1}" if len(steps) > 1 else ""
    return _brief(steps[0], room - len(more)) + more


def _brief(step: Tracked, room: int) -> str:
    """Shorten the name of a step; how far it is, is what the line is for."""
    far = f" {step.done / step.total:.0%}" if step.total > 1 else f" {step.seconds:,.0f} s"
    return f"{clipped(shown(step.what), room - len(far))}{far}"


def progress_line(step: Tracked, bar: int = 0) -> str:
    """Return one line: step, a bar of that width, percentage, rows per second, time left."""
    what = shown(step.what)
    if step.total <= 1:
        return f"{what}, {step.seconds:,.0f} s"
    share = step.done / step.total
    drawn = f" [{('#' * round(share * bar)).ljust(bar, '.')}]" if bar else ":"
    left = "" if step.left is None or step.finished else f", {step.left:,.0f} s left"
    return f"{what}{drawn} {share:.0%} of {step.total:,}{_rate(step)}{left}"


def _rate(step: Tracked) -> str:
    return f", {step.rate:,.0f}/s" if step.rate and step.total > 1 else ""
