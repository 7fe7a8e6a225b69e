"""What a report is made of, whatever it is written as: tables, lists, charts, and the sections that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

Kind = Literal["text", "code", "number", "moment", "chart"]


@dataclass(frozen=True)
class Heading:
    """A column of a table: `code` for names that are the database's, `chart` only where charts can be."""

    title: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows with a head; the last row is their sum where `total` is set."""

    columns: Sequence[Heading]
    rows: Sequence[Sequence[str | Markup]]
    title: str = ""
    note: str = ""
    total: bool = False


@dataclass(frozen=True)
class Listing:
    """Terms, each with what there is to say of it."""

    items: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and what stands at the ends of its axes."""

    title: str
    drawing: Markup
    height: str
    width: str


@dataclass(frozen=True)
class Legend:
    """Which colour is what: (class, words)."""

    items: Sequence[tuple[str, str]]


Block = str | Table | Listing | Chart | Legend


@dataclass(frozen=True)
class Section:
    """A part with a heading."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Article:
    """An import: its verdict in a sentence, its most important figures (label, value, remark), and its sections."""

    id: int
    title: str
    status: str
    verdict: str
    figures: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    footer: str


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    status: str
    verdict: str
    where: str
    overview: Table | None
    parts: Sequence[Article]
    remark: str
