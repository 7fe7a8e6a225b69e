"""The command that shows what the server is doing, live in a terminal or once."""

from __future__ import annotations

import json
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from callytics.cli.boundary import Printing
from callytics.cli.terminal.tables import Table, clipped, echo, fitted
from callytics.exceptions import CallyticsError
from callytics.postgres.text import counted, minute, shown_json
from callytics.settings import Settings
from callytics.status.advice import size, span
from callytics.status.top import Snapshot, looking

# The terminal's other screen, so that what was there before comes back: https://invisible-island.net/xterm/ctlseqs/
OPEN, CLOSE = "\033[?1049h\033[?25l", "\033[?25h\033[?1049l"
# Each line is emptied behind its text, and the screen below the last one: nothing flickers.
HOME, LINE_END, BELOW = "\033[H", "\033[K\r\n", "\033[J"
ROWS = 10
STATEMENT, LIVE_STATEMENT = 240, 90
Bytes = Mapping[str, int]


@click.command(cls=Printing)
@click.option("--once", is_flag=True, help="Print once and end, as in a pipe.")
@click.option(
    "--every",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the screen is drawn again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything once as JSON.")
@click.pass_obj
def top(env_file: Path, once: bool, every: float, as_json: bool) -> None:
    """Show what the server is doing, and what is worth changing.

    Sessions, waits, who blocks whom, the statements that cost most, tables by size and growth, unused and missing
    indexes, bloat, replication, archiving and settings, each finding with its remedy. In a terminal the screen is drawn
    again until q or Ctrl-C; in a pipe it is printed once, in full. Statements are shown without their literals. Reads
    as the owner where its login is configured; writes nothing.
    """
    settings = Settings.load(env_file=env_file)
    if not (once or as_json) and sys.stdout.isatty():
        _live(settings, every)
        return
    with looking(settings) as look:
        snapshot = look()
    if as_json:
        click.echo(shown_json(json.dumps(snapshot.as_dict(), ensure_ascii=False, indent=2, default=str)))
    else:
        echo(lines(snapshot))


def lines(
    snapshot: Snapshot, before: Bytes | None = None, *, rows: int | None = None, statement: int = STATEMENT
) -> Iterator[str | Table]:
    """Yield a snapshot for reading, with as many rows of each table; ``before`` are tables' bytes to compare with."""
    yield from _head(snapshot.sight)
    yield from _months(snapshot.sections["months"])
    for title, make in TABLES.items():
        found = make(snapshot.sections, statement)
        if found is not None:
            yield from _section(title, found, rows)
    yield from _section("Tables", _tables(snapshot.sections["tables"], before), rows or ROWS)
    yield from _advice(snapshot)


def _head(sight: Mapping[str, Any]) -> Iterator[str]:
    blocks = sight["blocks_hit"] + sight["blocks_read"]
    yield (
        f"{sight['database']}: PostgreSQL {sight['version'].partition(' ')[0]}"
        f"{', a standby' if sight['standby'] else ''}, up {span(sight['up_seconds'])}, {size(sight['bytes'])}"
    )
    yield (
        f"{sight['connections']} of {sight['connections_limit']} connections, "
        f"{counted(sight['transactions'], 'transaction')}, "
        f"{sight['blocks_hit'] / blocks if blocks else 1:.0%} of blocks from memory, as {sight['role']}"
    )


def _months(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield how the months of all tables are vacuumed."""
    soon, frozen, over = (sum(row[name] for row in found) for name in ("soon", "frozen", "unfrozen"))
    if found:
        yield f"Months: {soon:,} vacuumed soon, {frozen:,} frozen, {over:,} over and not frozen"


def _section(title: str, table: Table, rows: int | None) -> Iterator[str | Table]:
    yield ""
    more = len(table.rows) - (rows or len(table.rows))
    yield f"{title}{f' ({more:,} more)' if more > 0 else ''}"
    yield Table(table.head, table.rows[:rows], table.right, table.spare)


def _blocking(sections: Mapping[str, Any], _statement: int) -> Table | None:
    found = [
        (
            str(row["pid"]),
            span(row["seconds"]),
            row["mode"],
            row["relation"] or row["kind"],
            str(row["blocked_by"] or "prepared"),
            " ".join(filter(None, (row["blocker_state"], span(row["blocker_seconds"])))),
        )
        for row in sections["blocking"]
    ]
    return Table(("waits", "for", "lock", "on", "held by", "which is"), found, right={0, 1}) if found else None


def _waits(sections: Mapping[str, Any], _statement: int) -> Table | None:
    found = [(f"{row['type']}: {row['event']}", f"{row['sessions']:,}") for row in sections["waits"]]
    return Table(("wait", "sessions"), found, right={1}) if found else None


def _sessions(sections: Mapping[str, Any], statement: int) -> Table | None:
    found = [
        (
            str(row["pid"]),
            row["role"] or "",
            row["state"] or "",
            span(row["transaction_seconds"] or row["state_seconds"]),
            row["wait"] if row["state"] == "active" and row["wait"] else "",
            clipped(row["query"], statement) if row["state"] != "idle" else "",
        )
        for row in sections["sessions"]
    ]
    head = ("pid", "role", "state", "for", "waits for", "statement")
    return Table(head, found, right={0, 3}, spare={4, 5}) if found else None


def _statements(sections: Mapping[str, Any], statement: int) -> Table | None:
    found = [
        (
            _duration(row["total_ms"]),
            f"{row['calls']:,}",
            _duration(row["mean_ms"]),
            f"{row['rows']:,}",
            clipped(row["query"], statement),
        )
        for row in sections["statements"]
    ]
    return Table(("total", "calls", "each", "rows", "statement"), found, right={0, 1, 2, 3}) if found else None


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:,.1f} ms" if milliseconds < 1000 else span(milliseconds / 1000)


def _standbys(sections: Mapping[str, Any], _statement: int) -> Table | None:
    found = [
        (row["name"], row["state"] or "", row["sync"] or "", size(row["lag_bytes"] or 0), span(row["lag_seconds"]))
        for row in sections["standbys"]
    ] + [
        (f"slot {row['name']}", "active" if row["active"] else "unused", row["kind"], size(row["held_bytes"] or 0), "")
        for row in sections["slots"]
    ]
    return Table(("standby or slot", "state", "kind", "behind", "time"), found, right={3, 4}) if found else None


def _archiving(sections: Mapping[str, Any], _statement: int) -> Table | None:
    found = [
        (f"{row['archived']:,}", f"{row['failed']:,}", minute(row["archived_at"]) if row["archived_at"] else "never")
        for row in sections["archiving"]
        if row["mode"] != "off"
    ]
    return Table(("archived", "failed", "last"), found, right={0, 1}) if found else None


TABLES: dict[str, Callable[[Mapping[str, Any], int], Table | None]] = {
    "Who waits for whom": _blocking,
    "Waits": _waits,
    "Sessions": _sessions,
    "Statements that cost most": _statements,
    "Replication": _standbys,
    "Archiving of WAL": _archiving,
}


def _tables(found: list[dict[str, Any]], before: Bytes | None) -> Table:
    """Show tables by size; ``grown`` is since the screen was opened, or rows added since the server counts."""
    grown = "grown" if before is not None else "added"
    rows = [
        (
            row["name"],
            size(row["bytes"]),
            size(row["index_bytes"]),
            f"{row['rows']:,}",
            f"{row['dead_rows']:,}",
            f"{row['added_rows']:+,}" if before is None else _grown(row, before),
        )
        for row in found
    ]
    return Table(("table", "size", "indexes", "rows", "dead", grown), rows, right={1, 2, 3, 4, 5})


def _grown(row: Mapping[str, Any], before: Bytes) -> str:
    more = row["bytes"] - before.get(row["name"], 0)
    return f"{'-' if more < 0 else '+'}{size(abs(more))}" if more else "0"


def _advice(snapshot: Snapshot) -> Iterator[str]:
    yield ""
    yield "Worth changing" if snapshot.advice else "Nothing is worth changing."
    for one in (*snapshot.advice, *snapshot.missing):
        yield f"{one.subject}: {one.what}"
        yield f"  → {one.remedy}"


def _live(settings: Settings, every: float) -> None:
    """Draw the screen again and again until q, Ctrl-C or the end of the input.

    A server that stops is told on the screen, and looked for again: this may be why somebody is looking.
    """
    before: Bytes | None = None
    # The first look is outside: what is wrong with the settings ends the command with its line.
    with ExitStack() as stack:
        look = stack.enter_context(looking(settings))
        first = look()
        before = {row["name"]: row["bytes"] for row in first.sections["tables"]}
        with _screen() as waited:
            _draw(lines(first, before, rows=ROWS, statement=LIVE_STATEMENT))
            while waited(every):
                try:
                    _draw(lines(look(), before, rows=ROWS, statement=LIVE_STATEMENT))
                except CallyticsError as error:
                    look = _again(stack, settings, error)


def _again(stack: ExitStack, settings: Settings, error: CallyticsError) -> Callable[[], Snapshot]:
    """Show why there is nothing to show, and return a look that connects anew."""
    _draw([f"{datetime.now(UTC):%H:%M:%S} UTC  {error}"])

    def look() -> Snapshot:
        return stack.enter_context(looking(settings))()

    return look


def _draw(parts: Any) -> None:
    room = shutil.get_terminal_size()
    drawn = [*fitted(parts, sys.stdout)]
    # The last line of a terminal scrolls when it ends.
    if len(drawn) >= room.lines:
        left = len(drawn) - room.lines + 2
        drawn = [
            *drawn[: room.lines - 2],
            f"… {left} more lines: make the window higher, or callytics top --once | less",
        ]
    sys.stdout.write(
        HOME + LINE_END.join(clipped(line, room.columns) for line in drawn) + LINE_END.rstrip("\r\n") + BELOW
    )
    sys.stdout.flush()


@contextmanager
def _screen() -> Iterator[Callable[[float], bool]]:
    """Lend the terminal's other screen, with a function that waits and tells whether to go on."""
    keys = sys.stdin.fileno() if sys.stdin.isatty() else None
    kept = termios.tcgetattr(keys) if keys is not None else None
    sys.stdout.write(OPEN)
    try:
        if keys is not None:
            tty.setcbreak(keys)
        yield lambda seconds: _waited(keys, seconds)
    except KeyboardInterrupt:
        # How such a screen is left.
        return
    finally:
        if keys is not None and kept is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, kept)
        sys.stdout.write(CLOSE)
        sys.stdout.flush()


def _waited(keys: int | None, seconds: float) -> bool:
    if keys is None:
        time.sleep(seconds)
        return True
    ready, _, _ = select.select([keys], [], [], seconds)
    return not ready or sys.stdin.read(1) not in ("q", "Q", "")
