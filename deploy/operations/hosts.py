"""The order of what happens on several hosts."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import StringCommand, operation


@operation()
def wait_for_each_other() -> Generator[StringCommand, None, None]:
    """Do nothing, on every host: what comes after it begins nowhere before everything above it has ended everywhere.

    pyinfra keeps the order of one host's operations. Those of different hosts are mixed, except around an operation
    that they share.
    """
    yield from ()
