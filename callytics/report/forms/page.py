"""The completion report as one HTML page that needs nothing else: page.html, page.css, and no script."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from callytics.postgres.text import shown
from callytics.report import blocks
from callytics.report.document import document
from callytics.report.facts import Facts
from callytics.report.words import Words

HERE = Path(__file__).parent


def render(facts: Facts, words: Words) -> str:
    """Return the page; whatever was recorded is escaped, and its policy lets a browser load nothing at all."""
    style = (HERE / "page.css").read_text(encoding="utf-8")
    template = _environment().get_template("page.html")
    return template.render(
        report=document(facts, words),
        words=words,
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{_digest(style)}'; base-uri 'none'; form-action 'none'",
    )


def _environment() -> Environment:
    environment = Environment(
        # StrictUndefined: a misspelt name must fail instead of printing nothing.
        loader=FileSystemLoader(HERE),
        autoescape=True,
        # Whatever a variable holds that is not markup of ours.
        finalize=lambda value: shown(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["text"] = lambda block: isinstance(block, str)
    environment.filters["breakable"] = breakable
    environment.filters["whole"] = whole
    for kind in (blocks.Table, blocks.Listing, blocks.Chart, blocks.Legend):
        # The default binds this kind: a closure would see the loop's last one.
        environment.tests[kind.__name__.lower()] = lambda block, kind=kind: isinstance(block, kind)
    return environment


def breakable(text: str | Markup) -> Markup:
    """Return text, escaped, that may be broken where a long name has its joints."""
    if isinstance(text, Markup):
        return text
    return Markup(re.sub(r"([_/]|(?<=\w)[.,](?=\w))", r"\1<wbr>", str(escape(shown(text)))))


def whole(text: str) -> str:
    """Return text in which no line ends between a number and its unit."""
    return re.sub(r"(?<=\d) (?=[A-Za-z]{1,3}\b)", "\N{NO-BREAK SPACE}", text)


def _digest(style: str) -> str:
    """Return what lets exactly this style sheet in (https://www.w3.org/TR/CSP3/#grammardef-hash-source)."""
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
