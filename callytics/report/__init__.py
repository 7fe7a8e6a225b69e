"""The completion report of imports, from their records: HTML, Markdown or JSON, in English or Korean."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from callytics.report.facts import Facts, Import, gather
from callytics.report.files import FORMATS, LANGUAGES, Format, format_of, refuse_output, write_report
from callytics.report.words import Words
from callytics.settings import Settings

__all__ = [
    "FORMATS",
    "LANGUAGES",
    "Format",
    "completion_report",
    "format_of",
    "refuse_output",
    "write_report",
]


def completion_report(
    settings: Settings,
    *,
    language: str = "en",
    format: Format = "md",
    run: int | None = None,
    zone: tzinfo | None = None,
) -> str:
    """Return the completion report of a run, or of all runs: one self-contained page, Markdown, or JSON.

    Its times are those of ``zone``, or of the zone that the newest import read times in; JSON has instants in UTC.
    It names tables, columns and row numbers, never what a row holds. Raises `TargetError` where there is no import.
    """
    facts = gather(settings, run)
    if format == "json":
        recorded = [_recorded(one) for one in facts.imports]
        return json.dumps(recorded, ensure_ascii=False, indent=2, default=str)
    return _render(facts, Words(language, zone or _zone_of(facts.imports[-1])), format)


def _zone_of(one: Import) -> tzinfo:
    """Return the zone that an import read times in, if its name says it: a program may have given any offset."""
    return ZoneInfo(one.run.timezone) if one.run.timezone in available_timezones() else UTC


def _recorded(one: Import) -> dict[str, Any]:
    """Return an import as JSON has it: what was read, without what only joins it."""
    recorded = asdict(replace(one, definitions=[], chunks=[]))
    run, tables = recorded.pop("run"), recorded.pop("tables")
    for unseen in ("definitions", "chunks"):
        del recorded[unseen]
    summary = [{name: value for name, value in table.items() if name not in ("id", "source_id")} for table in tables]
    return {**run, **recorded, "summary": summary}


def _render(facts: Facts, words: Words, format: Format) -> str:
    # Only here, since most commands write no report: the template engine takes a while to import.
    from callytics.report.forms import markdown, page

    return page.render(facts, words) if format == "html" else markdown.render(facts, words)
