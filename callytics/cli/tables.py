"""Tables for the terminal, aligned by display width."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence

from callytics.postgres.text import shown


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """Yield the lines of a table; the columns in `right` are aligned to the right."""
    lines = [[shown(cell) for cell in row] for row in (head, *rows)]
    # By display width, not by number of characters: Korean table names would shift what follows them.
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            f"{' ' * (room - width(cell))}{cell}" if column in right else f"{cell}{' ' * (room - width(cell))}"
            for column, (cell, room) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def width(text: str) -> int:
    """Return the display width of a text: two columns for a Korean letter, none for a combining mark.

    https://www.unicode.org/reports/tr11/
    """
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
