"""Every line that a CallyticsError can hold, read from the source: what varies is …"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.places import REPOSITORY

PACKAGE = REPOSITORY / "callytics"


@cache
def parsed() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def last_name(expression: ast.expr) -> str:
    return ast.unparse(expression).rpartition(".")[2]


@cache
def error_classes() -> frozenset[str]:
    """Return the names of CallyticsError and of all that derive from it."""
    classes = [node for tree in parsed().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found = {"CallyticsError"}
    while more := {one.name for one in classes if found & {last_name(base) for base in one.bases}} - found:
        found |= more
    return frozenset(found)


def template(expression: ast.expr) -> str:
    """Return a text with … for what is put into it."""
    if isinstance(expression, ast.Constant):
        return str(expression.value)
    if isinstance(expression, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else _put_in(part.value)  # type: ignore[attr-defined]
            for part in expression.values
        )
    if isinstance(expression, ast.BinOp):
        return template(expression.left) + template(expression.right)
    return "…"


def _put_in(value: ast.expr) -> str:
    """Return a command with … for its words, and … for everything else."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "quoted":
        return f"'{' '.join(map(template, value.args))}'"
    return "…"


def texts(expression: ast.expr, module: ast.Module) -> Iterator[str]:
    """Yield what an argument can be; a name stands for all that its module assigns to it."""
    if isinstance(expression, ast.IfExp):
        yield from texts(expression.body, module)
        yield from texts(expression.orelse, module)
    elif isinstance(expression, ast.Name):
        for node in ast.walk(module):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == expression.id:
                yield from texts(node.value, module)
    elif isinstance(expression, ast.Call) and (functions := named(ast.unparse(expression.func), module)):
        for node in ast.walk(functions[0]):
            if isinstance(node, ast.Return) and node.value:
                yield from texts(node.value, module)
    else:
        yield re.sub(r"\{\w+\}|……+", "…", template(expression))


def named(name: str, module: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == name]


@cache
def messages() -> tuple[tuple[str, str], ...]:
    """Return place and template of each line of the package's errors."""
    return tuple(_messages())


def _messages() -> Iterator[tuple[str, str]]:
    for path, module in parsed().items():
        for node in ast.walk(module):
            for expression in made(node):
                for text in texts(expression, module):
                    yield f"{path.relative_to(REPOSITORY)}:{expression.lineno}", text


def made(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the texts of errors: CallyticsError(text), Problem(level, text), (Error, text), _end(…, text)."""
    if (
        isinstance(node, ast.Call)
        and node.args
        and (last_name(node.func) in error_classes() or ast.unparse(node.func) == "errors.append")
    ):
        yield node.args[0]
    elif isinstance(node, ast.Call) and last_name(node.func) in ("Problem", "_end") and len(node.args) > 1:
        yield node.args[1]
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and ast.unparse(node.elts[0]) in error_classes():
        yield node.elts[1]
