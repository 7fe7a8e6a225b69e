"""Which tests one process runs after each other, because they share what is expensive to make."""

from __future__ import annotations

import re
from functools import cache

from tests.support.places import REPOSITORY

# Where both are asked for, the file goes with those that need two hosts.
PROVISIONED = ("apart", "alone")
# xdist hands out scopes in their order: first what takes the longest.
FIRST = (*PROVISIONED, "tests/infra/test_cluster.py", "tests/test_demo.py", "tests/unit/test_sample.py")


def scope_of(test: str) -> str:
    """Return the scope of a test, or of a file, by pytest's id: its file, or the provisioned hosts that it asks for.

    Every process has hosts of its own, so that files which ask for the same ones belong together.
    """
    return _scope_of_file(test.partition("::")[0])


def turn_of(scope: str) -> int:
    """Return when a scope's turn comes: lower numbers come first."""
    return FIRST.index(scope) if scope in FIRST else len(FIRST)


@cache
def _scope_of_file(file: str) -> str:
    if not file.startswith("tests/infra/"):
        return file
    text = (REPOSITORY / file).read_text()
    return next((name for name in PROVISIONED if re.search(rf"\b{name}: Deployment\b", text)), file)
