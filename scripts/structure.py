"""The structure of the code as its imports tell it: typing-only and lazy ones count like all others."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Module:
    """A module of a checkout."""

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


def modules(*folders: str, tree: Path = REPOSITORY) -> dict[str, Module]:
    """Return the modules below folders of a checkout, by name."""
    found = {}
    for path in sorted(path for folder in folders for path in (tree / folder).rglob("*.py")):
        parts = path.relative_to(tree).with_suffix("").parts
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


def longest_chain(edges: Graph) -> list[str]:
    """Return the longest way along imports, the importing module first; a circle counts as one module."""
    circle_of = {name: circle for circle in circles(edges) for name in circle}
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            circle = circle_of.get(name, frozenset([name]))
            below = {target for member in circle for target in edges[member]} - circle
            way = [" ↔ ".join(sorted(circle)), *max(map(chain, sorted(below)), key=len, default=[])]
            chains.update(dict.fromkeys(circle, way))
        return chains[name]

    return max(map(chain, sorted(edges)), key=len, default=[])
