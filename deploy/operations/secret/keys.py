"""A key that is made once and kept on the control machine, so that every application host has the same."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from pyinfra import host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand

BYTES = 48


@dataclass(frozen=True)
class KeptKey:
    """A random key in a file of the control machine, its owner's alone."""

    path: Path

    def create(self) -> None:
        """Make the key, unless it exists; safe if several hosts ask at once."""
        if self.path.exists():
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.token_urlsafe(BYTES)}\n")
        # Unlike rename, link fails if another thread was first: its key stays, and its readers have the same one.
        try:
            os.link(new, self.path)
        except FileExistsError:
            pass
        finally:
            new.unlink()

    def unmask(self) -> str:
        """Return the key, or an empty text if it does not exist yet, as in a dry run."""
        return self.path.read_text().strip() if self.path.exists() else ""


@operation()
def kept(key: KeptKey) -> Generator[PyinfraCommand, None, None]:
    """Make the key on the control machine, unless it exists; a new one would end every login."""
    if key.path.exists():
        host.noop("the key is there")
    else:
        yield FunctionCommand(key.create, (), {})
