"""The status page: a document, its script and its style, in the reader's language, all served from here."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter, Request, Response
from markupsafe import Markup
from starlette.exceptions import HTTPException

from callytics.api import service
from callytics.api.telemetry.glance import Month, grown
from callytics.report import charts

STATIC = Path(__file__).parents[1] / "static"
WORDS = Path(__file__).parents[1] / "words"
LANGUAGES = ("en", "ko")
# Nothing inline: a policy with 'unsafe-inline' would not stop injected scripts.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PARTS = {"status.js": "text/javascript", "status.css": "text/css"}

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """Return the page in the available language that the reader prefers."""
    language = preferred(request.headers.get("accept-language", ""))
    headers = {
        "Content-Security-Policy": POLICY,
        "Content-Language": language,
        "Vary": "Accept-Language",
        "Cache-Control": "no-cache",
    }
    ours = service.of(request)
    months = await grown(ours.glance, ours.probe)
    return Response(_document(language, _charts(language, months)), media_type="text/html", headers=headers)


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
async def part(name: str) -> Response:
    """Return the page's script or style."""
    if name not in PARTS:
        raise HTTPException(404)
    return Response(_part(name), media_type=PARTS[name], headers={"Cache-Control": "no-cache"})


def preferred(accepted: str) -> str:
    """Return the page's language that an Accept-Language header prefers (RFC 9110, 12.5.4), English by default."""
    # A header of megabytes must not cost as much work.
    wishes = [_wish(part) for part in accepted[:1000].split(",")]
    # Of the same weight the first wins, hence the negative place.
    known = [(weight, -place, tag) for place, (weight, tag) in enumerate(wishes) if tag in LANGUAGES and weight > 0]
    return max(known)[2] if known else LANGUAGES[0]


def _wish(part: str) -> tuple[float, str]:
    tag, _, parameter = part.partition(";")
    _, _, weight = parameter.strip().partition("=")
    try:
        weighed = float(weight or 1)
    except ValueError:
        weighed = 0.0
    return weighed, tag.strip().lower().partition("-")[0]


def _charts(language: str, months: Sequence[Month]) -> Markup:
    """Return what the growth looks like; nothing where no month is known."""
    words, names = _words(language)["charts"], [month.month for month in months]
    if not months:
        return Markup()
    rows = _chart(words["rows"], names, [month.rows for month in months], "{:,}")
    return rows + _chart(words["bytes"], names, [month.bytes / 1e6 for month in months], "{:,.1f}")


def _chart(title: str, months: Sequence[str], values: Sequence[float], form: str) -> Markup:
    told = [f"{month}: {form.format(value)}" for month, value in zip(months, values, strict=True)]
    return Markup(
        "<figure><figcaption><span>{}</span> <strong>{}</strong></figcaption>{}"
        "<p><span>{}</span> <span>{}</span></p></figure>"
    ).format(title, told[-1], charts.columns(values, f"{title}: {', '.join(told)}"), months[0], months[-1])


def _document(language: str, growth: Markup) -> str:
    words = _words(language)
    # The script's texts are in a data block, which is not executed, so the policy needs no exception for it.
    lists = {name: words[name] for name in ("parts", "groups", "tables")}
    script = words["script"] | lists | {"grouping": _grouping()}
    texts = json.dumps(script, ensure_ascii=False).replace("<", "\\u003c")
    # Our own words, which may hold & and <.
    escaped = {name: escape(text) for name, text in words["page"].items()}
    template = Template((STATIC / "status.html").read_text(encoding="utf-8"))
    return template.substitute(escaped, language=language, texts=texts, charts=growth)


@cache
def _words(language: str) -> dict[str, dict[str, str]]:
    return tomllib.loads((WORDS / f"{language}.toml").read_text(encoding="utf-8"))


@cache
def _grouping() -> dict[str, list[str]]:
    return tomllib.loads((WORDS / "groups.toml").read_text(encoding="utf-8"))


@cache
def _part(name: str) -> bytes:
    return (STATIC / name).read_bytes()
