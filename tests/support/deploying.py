"""The deployment's operations on a host that is made up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from pyinfra.api import FactBase
from pyinfra.context import ctx_host, ctx_inventory


@contextmanager
def made_up_host(
    facts: Mapping[type[FactBase[Any]], Any],
    *,
    executing: bool = True,
    groups: Sequence[str] = ("database",),
    failed: Sequence[str] = (),
) -> Iterator[SimpleNamespace]:
    """Answer get_fact from ``facts``: a value, or a list of the answers one after the other.

    Of other application hosts there are those on which something has ``failed``.
    """

    def get_fact(fact: type[FactBase[Any]], **_arguments: object) -> Any:
        answer = facts[fact]
        return answer.pop(0) if isinstance(answer, list) and answer and isinstance(answer[0], Answer) else answer

    others = [Other(name) for name in failed]
    results = {other: SimpleNamespace(error_ops=1) for other in others}
    state = SimpleNamespace(is_executing=executing, inventory=others, results=results)
    host = SimpleNamespace(
        get_fact=get_fact, noop=lambda _text: None, state=state, name="this", groups=groups, print_prefix=""
    )
    inventory = SimpleNamespace(get_host=lambda _name: host)
    with ctx_host.use(host), ctx_inventory.use(inventory):
        yield host


@dataclass(frozen=True)
class Other:
    """Another application host."""

    name: str
    groups: tuple[str, ...] = ("app",)


class Answer(dict[str, Any]):
    """What a fact returns at one of several moments."""


def commands(operation: Any, *arguments: Any, facts: Mapping[type[FactBase[Any]], Any], **options: Any) -> list[Any]:
    """Return the commands that an operation yields on a host with these facts."""
    with made_up_host(facts, **options):
        return list(operation._inner(*arguments))
