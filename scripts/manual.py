"""Write the parts of the manual that the program knows best: help texts and the API's reference.

Each stands in its page between ``<!-- generated: WHAT -->`` and ``<!-- end -->``. The comments show neither on the site
nor on a forge, so that prose in either language can stand around them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from callytics.api import create_app
from callytics.cli import cli
from callytics.settings import ServiceSettings, Settings

MANUAL = Path(__file__).parents[1] / "docs"
PART = re.compile(r"(^<!-- generated: (\w+)([^\n]*?) -->\n).*?(^<!-- end -->$)", re.MULTILINE | re.DOTALL)
WIDTH = 78


def every_command(command: click.Command = cli, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, those of groups too, in the order of the help."""
    yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from every_command(command.commands[name], *path, name)


def help_text(command: str) -> str:
    """Return what ``callytics … --help`` prints, as a block with its prompt."""
    arguments = [*command.split()[1:], "--help"]
    shown = CliRunner().invoke(cli, arguments, prog_name="callytics", terminal_width=WIDTH).output
    return f"```console\n$ {command} --help\n{shown.strip()}\n```\n"


@cache
def openapi() -> Mapping[str, Any]:
    """Return the API's description of itself; no server is asked for it."""
    variables = {
        **dict.fromkeys(("POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER"), "anything"),
        "POSTGRES_PASSWORD": "no connection is made",
        "JWT_SECRET_KEY": "no token is signed with this key",
    }
    service = ServiceSettings.load(variables, env_file=None)
    return create_app(Settings.load(variables, env_file=None), service).openapi()


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference to a named schema."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return openapi()["components"]["schemas"][name] if name else schema


def described_type(schema: Mapping[str, Any]) -> str:
    """Return a type in words, with the limits of its values."""
    if "anyOf" in schema:
        return " or ".join(described_type(resolved(choice)) for choice in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum") or [schema["const"]])
    if schema.get("type") == "array":
        return f"list of {described_type(resolved(schema['items']))}"
    return schema.get("format", schema.get("type", "any JSON")) + span(schema)


def span(schema: Mapping[str, Any]) -> str:
    """Return between what a number, or the length of a text, must lie."""
    low, high = (schema.get(number, schema.get(length)) for number, length in (LEAST, MOST))
    unit = " characters" if schema.get("type") == "string" else ""
    low = None if unit and not low else low
    # Beyond that a limit is only that of 64 bits, which says nothing to a reader.
    high = None if high is None or high >= 2**53 else high
    above = f", above {schema['exclusiveMinimum']:.15g}" if "exclusiveMinimum" in schema else ""
    if low is None or high is None:
        words, limit = ("at most", high) if low is None else ("at least", low)
        return above + (f", {words} {limit:.15g}{unit}" if limit is not None else "")
    return above + f", {low:.15g} to {high:.15g}{unit}"


LEAST, MOST = ("minimum", "minLength"), ("maximum", "maxLength")


def meaning(schema: Mapping[str, Any]) -> str:
    """Return a field's description, which may stand at one of the types that it can have."""
    schemas = [schema, *schema.get("anyOf", ()), resolved(schema)]
    return next((one["description"] for one in schemas if "description" in one), "")


def nested(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the object that a field holds, one or many of them, and what its fields' names begin with."""
    schema = resolved(schema)
    if schema.get("type") == "array":
        return nested(schema["items"])[0], "[]."
    chosen = [resolved(choice) for choice in schema.get("anyOf", ())]
    return next((choice for choice in chosen if "properties" in choice), schema), "."


def fields(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of an object's fields, those of objects inside it too."""
    for name, field in schema.get("properties", {}).items():
        star = "*" if name in schema.get("required", ()) else ""
        yield f"`{prefix}{name}`{star}", described_type(resolved(field)), meaning(field)
        inner, separator = nested(field)
        yield from fields(inner, f"{prefix}{name}{separator}")


def table(head: str, rows: Iterator[tuple[str, ...]]) -> str:
    """Return a table of Markdown, or nothing where it has no rows."""
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in rows]
    return f"\n| {head} |\n|---|---|---|\n{''.join(lines)}" if lines else ""


def parameters(route: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of what a route takes in its path and query."""
    for one in route.get("parameters", ()):
        default = f" (default {one['schema']['default']})" if "default" in one["schema"] else ""
        star = "*" if one.get("required") else ""
        kind = described_type(one["schema"]).removesuffix(" or null")
        yield f"`{one['name']}`{star}", kind + default, meaning(one["schema"])


def body(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a request's or an answer's JSON."""
    return resolved(content.get("content", {}).get("application/json", {}).get("schema", {}))


def described_route(title: str, route: Mapping[str, Any]) -> str:
    """Return what a route does, takes and answers."""
    success, answer = next((code, answer) for code, answer in route["responses"].items() if code < "300")
    errors = ", ".join(sorted(code for code in route["responses"] if code > "300"))
    return (
        f"\n### {title}\n\n{route['description'].replace('``', '`')}\n"
        + table("Parameter | Type | Meaning", parameters(route))
        + table("In the body | Type | Meaning", fields(body(route.get("requestBody", {}))))
        + table(f"In the answer ({success}) | Type | Meaning", fields(body(answer)))
        + f"\nErrors: {errors}.\n"
    )


def reference(_: str) -> str:
    """Return all routes of the API, each under its heading."""
    return "".join(
        described_route(f"{method.upper()} {path}", route)
        for path, methods in openapi()["paths"].items()
        for method, route in methods.items()
    )


GENERATED: Mapping[str, Callable[[str], str]] = {"help": help_text, "reference": reference}


def written(page: str) -> str:
    """Return a page with its generated parts as they should be."""
    return PART.sub(lambda part: part[1] + GENERATED[part[2]](part[3].strip()) + part[4], page)


def heading(path: tuple[str, ...]) -> str:
    """Return what begins a command's section in the page of commands."""
    marker = f"<!-- generated: help {' '.join(('callytics', *path))} -->"
    return f"{'###' if path[1:] else '##'} {' '.join(path) or 'callytics'}\n\n{marker}\n"


def with_every_command(page: str) -> str:
    """Return the page of commands with a section for each command, new ones in their place."""
    following = ""
    for path in reversed([*every_command()]):
        section = heading(path)
        if section not in page:
            new = f"{section}<!-- end -->\n"
            page = page.replace(following, f"{new}\n{following}", 1) if following else f"{page}\n{new}"
        following = section
    return page


def update() -> None:
    """Write the generated parts of every page of the manual, in every language."""
    for path in MANUAL.rglob("*.md"):
        page = path.read_text(encoding="utf-8")
        page = with_every_command(page) if path.name == "commands.md" else page
        path.write_text(written(page), encoding="utf-8")


if __name__ == "__main__":
    update()
