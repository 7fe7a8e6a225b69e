"""The async counterpart of a method: it runs in the pool's threads, and the event loop goes on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from callytics.postgres.manager import PostgreSQLManager


class OnPostgres(Protocol):
    """Whatever works on a PostgreSQLManager."""

    @property
    def postgres(self) -> PostgreSQLManager:
        """The manager whose threads run the async counterparts."""


Self = TypeVar("Self", bound=OnPostgres)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def as_async(
    method: Callable[Concatenate[Self, Arguments], Result],
) -> Callable[Concatenate[Self, Arguments], Coroutine[Any, Any, Result]]:
    """Return a method's async counterpart: same arguments, result, errors and transactions.

    A task that is cancelled cancels its query. By convention its name is the method's with an ``a`` before it.
    """

    @wraps(method)
    async def run(self: Self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await self.postgres.in_thread(method, self, *args, **kwargs)

    return run
