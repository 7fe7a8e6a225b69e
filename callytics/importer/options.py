"""How a command of the importer is to work: options, limits, progress, and being cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from callytics.exceptions import SourceError

Progress = Callable[[str, int, int], None]
"""Called with what is done ('load transcriptions'), rows done, and rows in all; 0 of 1, then 1 of 1, where nobody
counts ('foreign key …')."""
PHASE = ": "
"""What separates, in what progress is told, a step from the phase of it that the server says it is in."""


@dataclass(frozen=True)
class Limits:
    """Sizes at which an import goes another way. Tests lower them, so that a small file goes every way of a large one.

    The defaults were measured; commands do not offer them.
    """

    chunk_rows: int = 20_000
    """Rows that are read, converted and committed together, at most: what the ADBC reader takes in one batch."""
    chunk_bytes: int = 4 * 1024 * 1024
    """About as many bytes of the file a chunk holds: memory follows from it, whatever the rows are like."""
    piece_rows: int = 200_000
    """Rows of a table that one worker loads or verifies on its own."""
    large_table_rows: int = 50_000
    """A table of more rows gives its primary key away for the load, and has its indexes built side by side."""
    verify: bool = True
    """Whether the plan has the steps that verify. Only benchmarks leave them out: the verdict means nothing then."""


class Cancellation:
    """Ends what a command is doing, from any thread: its statements on the server are cancelled, and it raises.

    Whoever hears of Ctrl-C calls `cancel`, since a thread that waits in C code hears of nothing.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._acts: list[Callable[[], None]] = []

    @contextmanager
    def reaches(self, act: Callable[[], None]) -> Iterator[None]:
        """Have `act` called when the command is cancelled during the block."""
        self._acts.append(act)
        try:
            yield
        finally:
            self._acts.remove(act)

    def cancel(self) -> None:
        """End the command that this was given to; nothing happens where none is under way."""
        self.cancelled = True
        for act in list(self._acts):
            act()


@dataclass(frozen=True)
class Options:
    """How to import: where snapshots are kept, where timestamps without offset were written, how many at once."""

    snapshots: Path = Path("callytics-imports")
    zone: tzinfo = UTC
    strict: bool = False
    jobs: int = 2
    again: bool = False
    limits: Limits = Limits()
    cancellation: Cancellation = field(default_factory=Cancellation, compare=False)


def zone_named(name: str) -> tzinfo:
    """Return the time zone of an IANA name; `SourceError` where there is none of that name."""
    try:
        return UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SourceError(f"{name} is not a time zone: use a name such as UTC or Asia/Seoul") from error
