"""The order of operations across hosts, and how one of them fails."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra import host
from pyinfra.api import OperationError, QuoteString, StringCommand, operation
from pyinfra.api.exceptions import PyinfraError


@operation()
def wait_for_each_other() -> Generator[StringCommand, None, None]:
    """Do nothing, on every host: no host goes on before all have completed everything above.

    pyinfra keeps the order of each host's own operations, but mixes those of different hosts, except around an
    operation that they share.
    """
    yield from ()


def reached(name: str) -> Any:
    """Return another host of the inventory to ask; raises PyinfraError where it can't be reached.

    While one of three is away a change would have to be made to it later, and what is restarted leaves one of two.
    """
    other = host.state.inventory.get_host(name)
    if other not in host.state.activated_hosts:
        raise PyinfraError(
            f"{name} is a member and can't be reached: start it, or name another host in its place in DATABASE_HOSTS; "
            "nothing was changed"
        )
    return other


def failing(error: str) -> StringCommand:
    """Return a command that fails with ``error``: raised while pyinfra executes, it would come with a traceback.

    A dry run executes nothing and shows what is raised as one line: there it is an OperationError.
    """
    if not host.state.is_executing:
        raise OperationError(error)
    return StringCommand("echo", QuoteString(f"Error: {error}"), ">&2; exit 1")
