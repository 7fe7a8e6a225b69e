"""The order of operations across hosts, and how one of them fails."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import OperationError, QuoteString, StringCommand, operation


@operation()
def wait_for_each_other() -> Generator[StringCommand, None, None]:
    """Do nothing, on every host: no host goes on before all have completed everything above.

    pyinfra keeps the order of each host's own operations, but mixes those of different hosts, except around an
    operation that they share.
    """
    yield from ()


def failing(error: str) -> StringCommand:
    """Return a command that fails with ``error``: raised while pyinfra executes, it would come with a traceback.

    A dry run executes nothing and shows what is raised as one line: there it is an OperationError.
    """
    if not host.state.is_executing:
        raise OperationError(error)
    return StringCommand("echo", QuoteString(f"Error: {error}"), ">&2; exit 1")
