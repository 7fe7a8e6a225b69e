"""The order of operations across hosts."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import StringCommand, operation


@operation()
def wait_for_each_other() -> Generator[StringCommand, None, None]:
    """Do nothing, on every host: no host goes on before all have completed everything above.

    pyinfra keeps the order of each host's own operations, but mixes those of different hosts, except around an
    operation that they share.
    """
    yield from ()
