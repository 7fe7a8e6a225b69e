"""Which tests one process runs after each other, because they share what is expensive to make."""

from __future__ import annotations

import ast
from functools import cache

from tests.support.places import REPOSITORY

# Who asks for both goes with those that need two hosts.
PROVISIONED = ("apart", "alone")
# xdist hands out scopes in their order: first what takes the longest.
FIRST = (*PROVISIONED, "tests/infra/test_cluster.py", "tests/test_demo.py", "tests/unit/test_sample.py")


def scope_of(test: str) -> str:
    """Return the scope of a test, or of a file, by pytest's id: its file, or the provisioned hosts that it asks for.

    Every process has hosts of its own, so that tests which ask for the same ones belong together.
    """
    file, _, name = test.partition("::")
    if not file.startswith("tests/infra/"):
        return file
    function, _, parameters = name.rstrip("]").partition("[")
    asked = hosts_of(file)
    found = asked.get(function, frozenset().union(*asked.values())).union(parameters.split("-"))
    return next((hosts for hosts in PROVISIONED if hosts in found), file)


def turn_of(scope: str) -> int:
    """Return when a scope's turn comes: lower numbers come first."""
    return FIRST.index(scope) if scope in FIRST else len(FIRST)


@cache
def hosts_of(file: str) -> dict[str, frozenset[str]]:
    """Return what each function of a file asks for, by itself or by fixtures of that file."""
    functions = {
        one.name: one for one in ast.parse((REPOSITORY / file).read_text()).body if isinstance(one, ast.FunctionDef)
    }

    def asks(name: str) -> frozenset[str]:
        if name not in functions:
            return frozenset({name} & {*PROVISIONED})
        return frozenset().union(*(asks(argument.arg) for argument in functions[name].args.args))

    return {name: asks(name) for name in functions}
