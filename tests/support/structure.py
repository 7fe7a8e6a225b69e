"""The structure of the code as its imports tell it: typing-only and lazy ones count like all others."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.places import REPOSITORY

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Module:
    """A module of the repository."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def imported(self) -> list[tuple[str, str | None]]:
        """What it imports, anywhere in it: (module, name), without a name where the module as such is imported."""
        found: list[tuple[str, str | None]] = []
        for node in ast.walk(ast.parse(self.text)):
            if isinstance(node, ast.Import):
                found += [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found += [(node.module, alias.name) for alias in node.names]
        return found

    @property
    def room(self) -> str:
        """The folder of the package that it stands in, or its own name at the package's top."""
        return ".".join(self.name.split(".")[:2])

    def private_imports(self) -> Iterator[str]:
        """Yield the private names of other modules that it imports by name."""
        for module, name in self.imported:
            if name and name.startswith("_") and not name.startswith("__"):
                yield f"{self.name}: {module}.{name}"


def modules(*folders: str) -> dict[str, Module]:
    """Return the modules below folders of the repository, by name."""
    found = {}
    for path in sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path)
    return found


def graph(found: Mapping[str, Module]) -> Graph:
    """Return which of the modules each imports; a name that is a module counts as that, not as its package."""

    def targets(module: Module) -> Iterator[str]:
        for imported, name in module.imported:
            if f"{imported}.{name}" in found:
                yield f"{imported}.{name}"
            elif imported in found:
                yield imported

    return {name: frozenset(targets(module)) - {name} for name, module in found.items()}


def reachable(edges: Graph, start: str) -> set[str]:
    """Return what a module leads to by one import or several."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in edges[waiting.pop()] - seen:
            seen.add(target)
            waiting.append(target)
    return seen


def circles(edges: Graph) -> set[frozenset[str]]:
    """Return the largest sets of modules each of which leads to all the others."""
    leads = {name: reachable(edges, name) for name in edges}
    return {frozenset(other for other in leads[name] if name in leads[other]) for name in edges if name in leads[name]}


def levels(edges: Graph) -> int:
    """Return the number of modules on the longest way along imports; a circle counts once."""
    circle_of = {name: circle for circle in circles(edges) for name in circle}
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            circle = circle_of.get(name, frozenset([name]))
            below = {target for member in circle for target in edges[member]} - circle
            depths.update(dict.fromkeys(circle, 1 + max(map(depth, below), default=0)))
        return depths[name]

    return max(map(depth, edges), default=0)
