"""The completion report as Markdown: the same contents without the charts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from callytics.postgres.text import shown
from callytics.report.blocks import Article, Block, Document, Heading, Listing, Table
from callytics.report.document import document
from callytics.report.facts import Facts
from callytics.report.words import Words

# What Markdown would take for markup, HTML among it; an underscore inside a word is one.
SPECIAL = re.compile(r"([\\`*\[\]<>|#~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def render(facts: Facts, words: Words) -> str:
    """Return the report as Markdown."""
    return "\n".join(_lines(document(facts, words)))


def _lines(report: Document) -> Iterator[str]:
    yield f"# {escaped(report.title)}\n"
    yield f"**{escaped(report.verdict)}**\n"
    yield escaped(report.where) + "\n"
    if report.overview:
        yield from _block(report.overview)
    for part in report.parts:
        yield from _part(part, report)
    yield escaped(report.remark)


def _part(part: Article, report: Document) -> Iterator[str]:
    yield f"## {escaped(part.title)}\n"
    if report.overview:
        yield f"**{escaped(part.verdict)}**\n"
    for label, value, remark in part.figures:
        yield f"- {escaped(label)}: {escaped(value)}" + (f" ({escaped(remark)})" if remark else "")
    yield ""
    for section in part.sections:
        yield f"### {escaped(section.title)}\n"
        for block in section.blocks:
            yield from _block(block)
    yield escaped(part.footer) + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, str):
        yield escaped(block) + "\n"
    elif isinstance(block, Listing):
        for term, values in block.items:
            yield f"- {escaped(term)}: " + "; ".join(map(escaped, values))
        yield ""
    elif isinstance(block, Table):
        yield from _table(block)


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield f"**{escaped(table.title)}**\n"
    # Charts are SVG, which Markdown can't show.
    chosen = [number for number, column in enumerate(table.columns) if column.kind != "chart"]
    yield _row([escaped(table.columns[number].title) for number in chosen])
    yield _row([_rule(table.columns[number]) for number in chosen])
    for row in table.rows:
        yield _row([_cell(row[number]) for number in chosen])
    yield ""
    if table.note:
        yield escaped(table.note) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(heading: Heading) -> str:
    return "---:" if heading.kind == "number" else "---"


def _cell(cell: str | Markup) -> str:
    return escaped(cell.striptags() if isinstance(cell, Markup) else cell)


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", shown(" ".join(text.split()))).replace("&", "&amp;")
