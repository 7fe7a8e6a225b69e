"""Lines and tables as wide as whoever reads them can see: fitted to a terminal, in full for a pipe or a file.

Widths are those of a terminal: two places for a Korean letter, none for a mark that joins the letter before it.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TextIO

import click

from callytics.postgres.text import shown

# What a terminal that does not say its width has (a serial line, some containers), and the least that is written for.
USUAL, LEAST = 80, 20
GAP, HANG = "  ", "  "
# A column of names is not made narrower than its longest part up to this: below, stacked rows are easier to read.
READABLE = 16
# Nor are rows wrapped that would take more lines than this on average.
LINES_A_ROW = 3
# Names may be broken behind these.
JOINTS = re.compile(r"(?<=[_./,:;=-])")
# The vowels and final consonants of Hangul that is kept letter by letter, as macOS keeps file names: drawn inside the
# consonant before them (https://www.unicode.org/reports/tr11/#ED7).
JAMO = (range(0x1160, 0x1200), range(0xD7B0, 0xD800))
INVISIBLE = {"Mn", "Me", "Cf"}


@dataclass(frozen=True)
class Table:
    """Rows below a head. ``right`` are the columns of figures; those in ``spare`` say nothing if all are 0 or empty."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[int] = ()
    spare: Collection[int] = ()


def terminal_width(stream: TextIO | None) -> int | None:
    """Return how many columns the terminal behind a stream has; None if there is none, or the stream was closed."""
    if stream is None or not stream.isatty():
        return None
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        columns = 0
    return max(columns or USUAL, LEAST)


def echo(parts: Iterable[str | Table], *, err: bool = False) -> None:
    """Print lines and tables, wrapped at a terminal so that each line fits and nothing is lost.

    A pipe or a file gets each line and each column as it is, since a program that reads them counts on that.
    """
    stream = sys.stderr if err else sys.stdout
    click.echo("\n".join(fitted(parts, stream)), err=err)


def fitted(parts: Iterable[str | Table], stream: TextIO | None) -> Iterator[str]:
    """Yield the lines that show lines and tables on a stream."""
    room = terminal_width(stream)
    for part in parts:
        if isinstance(part, Table):
            yield from table_lines(part, room)
        elif room is None:
            yield shown(part)
        else:
            yield from wrapped(shown(part), room)


def table_lines(table: Table, room: int | None = None) -> Iterator[str]:
    """Yield the lines of a table: as wide as it is, or wrapped in its columns, or a row below the other."""
    lines = [[shown(cell) for cell in row] for row in (table.head, *table.rows)]
    kept = [*range(len(table.head))]
    if room is not None:
        kept = [at for at in kept if at not in table.spare or any(row[at] not in ("", "0") for row in lines[1:])]
    columns = [[row[at] for row in lines] for at in kept]
    right = {place for place, at in enumerate(kept) if at in table.right}
    widths = _widths(columns, right, room)
    aligned = [] if widths is None else [*_aligned(columns, widths, right)]
    if room is not None and (not aligned or len(aligned) > LINES_A_ROW * len(lines)):
        return _stacked(columns, room)
    return iter(aligned)


def _widths(columns: Sequence[Sequence[str]], right: Collection[int], room: int | None) -> list[int] | None:
    """Share a line among columns; None if there is not enough of it. Figures are never broken."""
    widths = [max(map(width, column)) for column in columns]
    if room is None:
        return widths
    floors = [
        wide if at in right else min(wide, max(map(_floor, column)))
        for at, (wide, column) in enumerate(zip(widths, columns, strict=True))
    ]
    while sum(widths) + len(GAP) * (len(widths) - 1) > room:
        wide = max(range(len(widths)), key=lambda at: (widths[at] > floors[at], widths[at]))
        if widths[wide] == floors[wide]:
            return None
        # The next width that makes a difference, so that as few cells as possible are broken.
        widths[wide] = max(floors[wide], _used(columns[wide], widths[wide] - 1))
    return widths


def _used(column: Sequence[str], room: int) -> int:
    return max(width(line) for cell in column for line in wrapped(cell, room))


def _floor(cell: str) -> int:
    parts = [part for word in cell.split() for part in JOINTS.split(word)]
    return min(READABLE, len(HANG) + max(map(width, parts), default=0))


def _aligned(columns: Sequence[Sequence[str]], widths: Sequence[int], right: Collection[int]) -> Iterator[str]:
    wrapped_columns = [[wrapped(cell, wide) for cell in column] for column, wide in zip(columns, widths, strict=True)]
    # Wrapped words rarely fill what they were given.
    used = [max(width(line) for cell in column for line in cell) for column in wrapped_columns]
    for row in zip(*wrapped_columns, strict=True):
        for line in zip_longest(*row, fillvalue=""):
            yield GAP.join(
                f"{' ' * (wide - width(cell))}{cell}" if at in right else f"{cell}{' ' * (wide - width(cell))}"
                for at, (cell, wide) in enumerate(zip(line, used, strict=True))
            ).rstrip()


def _stacked(columns: Sequence[Sequence[str]], room: int) -> Iterator[str]:
    """Yield each row as its first cell and, below it, the others by their names; what is empty is not named."""
    (_, *labels), *rows = zip(*columns, strict=True)
    names = max(map(width, labels))
    for first, *cells in rows:
        yield from wrapped(first, room)
        for label, cell in zip(labels, cells, strict=True):
            if cell:
                yield from _labelled(f"{HANG}{label}{' ' * (names - width(label))}{GAP}", cell, room)


def _labelled(label: str, cell: str, room: int) -> Iterator[str]:
    for at, line in enumerate(wrapped(cell, room - width(label))):
        yield f"{' ' * width(label) if at else label}{line}"


def wrapped(text: str, room: int) -> list[str]:
    """Break a line between words, and words that are too long at their joints, so that no line is wider than room.

    What continues a line is indented further, or stands below its last column if that begins in its first part.
    """
    if width(text) <= room:
        return [text]
    indent, hang = _indents(text, room)
    lines, line = [], indent
    for space, word in re.findall(r"( *)([^ ]+)", text.lstrip(" ")):
        if width(line + space + word) <= room:
            line += space + word
            continue
        if line.strip():
            lines.append(line)
            line = hang
        while width(line + word) > room:
            part, word = _split(word, room - width(line))
            lines.append(line + part)
            line = hang
        line += word
    return [*lines, line]


def _indents(text: str, room: int) -> tuple[str, str]:
    """Return what stands before a line and before those that continue it: at most two fifths of the room."""
    most = room * 2 // 5
    indent = " " * (len(text) - len(text.lstrip(" ")))
    indent = indent if len(indent) + len(HANG) <= most else HANG
    column = re.match(r".*\S {2,}(?=\S)", text)
    under = width(column[0]) if column else 0
    hang = under if len(indent) < under <= most else len(indent) + len(HANG)
    return indent, " " * (hang if hang < room - 1 else 0)


def _split(word: str, room: int) -> tuple[str, str]:
    """Return as much of a word as there is room for, if possible up to a joint, and the rest."""
    ends = [at for at in range(1, len(word)) if width(word[at]) and word[at - 1] != "\u200d"]
    fitting = [at for at in ends if width(word[:at]) <= room] or ends[:1] or [len(word)]
    joints = [match.start() for match in JOINTS.finditer(word)]
    at = max(set(joints) & set(fitting), default=0)
    # A joint near the beginning would leave most of the line empty.
    at = at if at * 3 > fitting[-1] else fitting[-1]
    return word[:at], word[at:]


def clipped(text: str, room: int) -> str:
    """Return a text that fits, with a mark where it was cut."""
    if width(text) <= room:
        return text
    kept = next(end for end in range(len(text), -1, -1) if width(text[:end]) < max(room, 1))
    return f"{text[:kept]}…"


def width(text: str) -> int:
    """Return the display width of a text: two columns for a Korean letter, none for a combining mark.

    https://www.unicode.org/reports/tr11/
    """
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(letter: str) -> int:
    # Says that the emoji before it is to be drawn in colour, which takes a place more.
    if letter == "\ufe0f":
        return 1
    if unicodedata.category(letter) in INVISIBLE or any(ord(letter) in letters for letters in JAMO):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
