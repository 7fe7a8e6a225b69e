"""A terminal of a chosen width, and what a person sees on it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import pytest

from tests.support.commands import PROGRAM
from tests.support.manual import shown
from tests.support.places import REPOSITORY

CLEARED = "\r\033[K"
USUAL = 80


@dataclass
class Terminal:
    """One side of a pseudo-terminal, and what was written to it."""

    columns: int
    slave: TextIO
    written: list[bytes] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return everything that was written, with the line ends that a program writes."""
        return b"".join(self.written).decode().replace("\r\n", "\n")

    @property
    def lines(self) -> list[str]:
        """Return the lines that stay to be read."""
        return lines_of(self.text)

    @property
    def drawn(self) -> list[str]:
        """Return each line, and each state of a line that was drawn over."""
        return drawn_of(self.text)


def lines_of(text: str) -> list[str]:
    """Return the lines that stay to be read: those that were drawn over are not among them."""
    return [line.rpartition(CLEARED)[2] for line in text.removesuffix("\n").split("\n")]


def drawn_of(text: str) -> list[str]:
    """Return each line, and each state of a line that was drawn over."""
    return [state for line in text.split("\n") for state in line.split(CLEARED)]


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    """Lend a terminal; what was written is complete when it is given back."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    lent = Terminal(columns, os.fdopen(slave, "w"))
    reader = threading.Thread(target=_read, args=(master, lent.written))
    reader.start()
    try:
        yield lent
    finally:
        lent.slave.close()
        reader.join()
        os.close(master)


def _read(master: int, into: list[bytes]) -> None:
    # Linux says EIO when nobody has the other side open any more.
    with suppress(OSError):
        while read := os.read(master, 1 << 16):
            into.append(read)


def on_terminal(columns: int, *arguments: object, folder: Path, variables: Mapping[str, str]) -> Terminal:
    """Run a command whose stdout and stderr are a terminal, to its end."""
    with terminal(columns) as lent:
        subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            cwd=folder,
            env=os.environ | variables | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=lent.slave,
            stderr=lent.slave,
            timeout=60,
            check=False,
        )
    return lent


def typed(command: str, *, folder: Path, variables: Mapping[str, str]) -> tuple[int, Terminal]:
    """Have a shell run a line at a terminal as wide as most; return its exit code and what is seen there."""
    with terminal(USUAL) as lent:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=lent.slave,
            stderr=lent.slave,
            check=False,
        )
    return done.returncode, lent


def follow(commands: Iterable[tuple[str, str]], folder: Path, variables: Mapping[str, str]) -> None:
    """Type commands at a terminal as a reader does, and compare what is seen there with what the manual shows."""
    for command, output in commands:
        code, seen = typed(command, folder=folder, variables=variables)
        said = "\n".join(seen.lines)
        assert code == 0, f"{command}\n{said}"
        assert shown(output, said), f"{command}\n{said}"
        assert too_wide(seen) == [], command


def places(text: str) -> int:
    """Return how many places of a terminal a text takes, reckoned from composed letters."""
    composed = unicodedata.normalize("NFC", text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in composed)
    return len(composed) + wide - sum(unicodedata.category(letter) in ("Mn", "Me", "Cf") for letter in composed)


def too_wide(seen: Terminal) -> list[str]:
    """Return what did not fit, drawn-over states included."""
    return [line for line in seen.drawn if places(line) > seen.columns]


@contextmanager
def at_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Make a terminal the stdout and stderr of this process."""
    with terminal(columns) as lent, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", lent.slave)
        patch.setattr("sys.stderr", lent.slave)
        yield lent
