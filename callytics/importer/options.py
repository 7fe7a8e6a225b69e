"""How a command of the importer works: options, limits, progress and cancellation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from callytics.exceptions import SourceError

# Called with a step ("load transcriptions"), the rows done and the rows in total. A step without rows to count
# ("foreign key …") reports 0 of 1, then 1 of 1. Workers call it from their threads, but never two at once.
Progress = Callable[[str, int, int], None]
# Separates a step from the phase that the server reports for it: "index …: building index: scanning table".
PHASE = ": "


@dataclass(frozen=True)
class Limits:
    """Sizes at which an import takes another path.

    The defaults were measured, and no command offers them. Tests lower them, so that a small file takes every path of
    a large one.
    """

    # Most rows that are read, converted and committed together: what the ADBC reader takes in one batch.
    chunk_rows: int = 20_000
    # Approximate bytes of the file in one chunk: this bounds memory, however wide the rows are.
    chunk_bytes: int = 4 * 1024 * 1024
    # Rows of a table that one worker loads or verifies on its own.
    piece_rows: int = 200_000
    # From this many rows on, a table's primary key is deferred and its indexes are built in parallel. Below it, the
    # plan would cost more than it saves.
    large_table_rows: int = 50_000
    # Whether the plan verifies. Only benchmarks leave this out: the verdict means nothing then.
    verify: bool = True


class Cancellation:
    """Cancels a command from any thread: its statements on the server end, and it raises ``Interrupted``.

    Python delivers Ctrl-C only when the main thread is back from C code, which a long statement keeps it from. So the
    caller that receives the signal calls ``cancel``, and the server ends the statements.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._acts: list[Callable[[], None]] = []

    @contextmanager
    def reaches(self, act: Callable[[], None]) -> Iterator[None]:
        """Call ``act``, from the cancelling thread, if the command is cancelled during the block."""
        # What must be cancelled changes during a command: connections come and go.
        self._acts.append(act)
        try:
            yield
        finally:
            self._acts.remove(act)

    def cancel(self) -> None:
        """Cancel the command that has this object; does nothing if no command is running."""
        self.cancelled = True
        # A copy: a block that ends meanwhile removes its act in another thread.
        for act in list(self._acts):
            act()


@dataclass(frozen=True)
class Options:
    """How to import.

    ``snapshots`` is the folder that keeps snapshots, ``zone`` the zone of local timestamps without an offset, ``jobs``
    the number of workers. ``utc`` and ``local`` name columns, as TABLE.COLUMN with ``*`` for any characters, whose
    times are UTC or local whatever their tables declare. ``strict`` refuses files from which anything would be
    rejected, normalised or unmapped, ``again`` imports a file whose calls are there already as if it came from another
    installation, and ``unmapped`` one without any table of Callytics. ``notice`` is told at once what whoever waits
    should know, in one line.
    """

    snapshots: Path = Path("callytics-imports")
    zone: tzinfo = UTC
    utc: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    strict: bool = False
    jobs: int = 2
    again: bool = False
    unmapped: bool = False
    limits: Limits = Limits()
    cancellation: Cancellation = field(default_factory=Cancellation, compare=False)
    notice: Callable[[str], None] = field(default=lambda _line: None, compare=False)


def zone_named(name: str) -> tzinfo:
    """Return the time zone of an IANA name; raises ``SourceError`` for an unknown name."""
    try:
        return UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SourceError(f"{name} is not a time zone: use a name such as UTC or Asia/Seoul") from error
