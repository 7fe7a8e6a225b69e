"""Files that hold a secret: never shown, never in /tmp, either complete or absent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import FactBase, HiddenValue, QuoteString, StringCommand, operation


@dataclass(frozen=True)
class FileState:
    """What can be told of a file without showing it."""

    user: str
    group: str
    mode: int
    sha256: str


class SecretFile(FactBase[FileState | None]):
    """A file's owner, group, mode and SHA-256, or None."""

    def command(self, path: str) -> StringCommand:
        """Return the command that asks."""
        quoted = QuoteString(path)
        return StringCommand("[ ! -f", quoted, "] || { stat -c '%U %G %a'", quoted, "&& sha256sum <", quoted, "; }")

    def process(self, output: list[str]) -> FileState:
        """Return the state."""
        user, group, mode = output[0].split()
        return FileState(user, group, int(mode, 8), output[1].split()[0])


@operation()
def secret(
    content: Callable[[], HiddenValue], dest: str, user: str, group: str, mode: int
) -> Generator[StringCommand, None, None]:
    """Write ``content()`` to ``dest`` unless it is there already; nobody else can read it at any moment.

    The new file gets its owner and mode before its name, so that a killed run leaves the old one. The folder must
    exist. The text travels over stdin, since ps shows arguments, and ends with a newline. Only hashes are compared.
    """
    text = content().unmask().rstrip("\n") + "\n"
    wanted = FileState(user, group, mode, hashlib.sha256(text.encode()).hexdigest())
    if host.get_fact(SecretFile, path=dest) == wanted:
        host.noop(f"{dest} is as declared")
        return
    new, old = QuoteString(f"{dest}.new"), QuoteString(dest)
    yield StringCommand(
        "umask 077 && rm -f", new, "&& cat >", new, f"&& chown {user}:{group}", new, f"&& chmod {mode:04o}", new,
        "&& mv -f", new, old,
        _stdin=text,
    )  # fmt: skip
