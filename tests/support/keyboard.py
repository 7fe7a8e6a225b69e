"""A shell at a pseudo-terminal of 80 columns, and a person who types there and reads the screen.

`type` a line and see everything up to the shell's next prompt, or up to the end of a question; `press` what answers it,
or a key such as Ctrl-C.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.terminal import USUAL, drawn_of, lines_of, places

CTRL_C = "\x03"
# Nothing else prints this; it holds the exit code of the command before it.
PROMPT = re.compile(r"\r?\x01<(\d+)>\x02")
# Without line editing, which would draw what is typed over what is there; the shell itself reads the second line.
SETUP = (
    "exec bash --noediting --norc\n"
    "stty -echo columns {columns}; VIRTUAL_ENV_DISABLE_PROMPT=1 PROMPT_COMMAND= PS1=$'\\x01<$?>\\x02'\n"
)
SECONDS = 300


@dataclass(frozen=True)
class Seen:
    """What one command has written to the screen, and its exit code; None where it is still running."""

    text: str
    exit_code: int | None

    @property
    def lines(self) -> list[str]:
        """Return the lines that stay to be read."""
        return lines_of(self.text)

    @property
    def drawn(self) -> list[str]:
        """Return each line, and each state of a line that was drawn over."""
        return drawn_of(self.text)

    @property
    def too_wide(self) -> list[str]:
        """Return what did not fit."""
        return [line for line in self.drawn if places(line) > USUAL]

    @property
    def squeezed(self) -> str:
        """Return what stays to be read without any space, so that it does not matter where a line was broken."""
        return squeezed("\n".join(self.lines))


def squeezed(text: str) -> str:
    return "".join(text.split())


class Keyboard:
    """A shell that is kept open: what is exported or changed to stays so. Use it as a context manager."""

    def __init__(self, shell: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, USUAL, 0, 0))
        self._shell = subprocess.Popen(shell, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self._unread = ""
        # What a shell says of itself before it can be asked not to.
        self.press(SETUP.format(columns=USUAL), PROMPT.pattern)
        self._unread = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the shell, as closing its window does."""
        os.close(self._master)
        self._shell.kill()
        self._shell.wait(SECONDS)

    def type(self, command: str, until: str = "") -> Seen:
        """Type a line; return what is seen up to the next prompt, or up to words that a question ends with."""
        return self.press(f"{command}\n", re.escape(until))

    def press(self, keys: str, until: str = "") -> Seen:
        """Press keys; ``until`` is a pattern of what is waited for, the next prompt unless given."""
        os.write(self._master, keys.encode())
        return self._read(re.compile(until) if until else PROMPT)

    def _read(self, awaited: re.Pattern[str]) -> Seen:
        deadline = time.monotonic() + SECONDS
        received = self._unread.encode()
        while not (found := awaited.search(received.decode(errors="ignore"))):
            ready = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, f"{awaited.pattern} does not appear:\n{received.decode(errors='replace')}"
            received += os.read(self._master, 1 << 16)
        text = received.decode()
        self._unread = text[found.end() :]
        code = int(found[1]) if awaited is PROMPT else None
        shown = text[: found.start()] if awaited is PROMPT else text[: found.end()]
        return Seen(shown.replace("\r\n", "\n"), code)
