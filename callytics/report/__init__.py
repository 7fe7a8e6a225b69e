"""What the importer found: in words for the terminal, as JSON, and as the completion report in English or Korean."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from callytics.importer.import_ import Outcome
from callytics.importer.profile import Profile
from callytics.report.facts import Facts, Import, gather
from callytics.report.terminal import outcome_lines, profile_lines, table_lines, verdict
from callytics.report.words import Words
from callytics.settings import Settings

__all__ = [
    "FORMATS",
    "LANGUAGES",
    "Format",
    "as_json",
    "completion_report",
    "format_of",
    "outcome_lines",
    "profile_lines",
    "table_lines",
    "verdict",
]

Format = Literal["html", "md", "json"]
FORMATS: tuple[Format, ...] = ("html", "md", "json")
"""What a completion report can be written as; also the suffixes of its files."""
LANGUAGES = ("en", "ko")


def completion_report(
    settings: Settings, *, language: str = "en", format: Format = "md", run: int | None = None
) -> str:
    """Return the completion report of a run, or of all runs: one self-contained page, Markdown, or JSON.

    It names tables, columns and row numbers, never what a row holds. Raises `TargetError` where there is no import.
    """
    facts = gather(settings, run)
    if format == "json":
        return as_json([_recorded(one) for one in facts.imports])
    return _render(facts, Words(language), format)


def format_of(file: Path | None) -> Format:
    """Return the format that a file's name asks for; Markdown where it asks for none."""
    return next((format for format in FORMATS if file and file.suffix.lower() == f".{format}"), "md")


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
    from callytics.report import markdown, page

    return page.render(facts, words) if format == "html" else markdown.render(facts, words)


def as_json(value: Outcome | list[Profile] | list[dict[str, Any]]) -> str:
    """Return findings as JSON, one object, or a list of them."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=2, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, Profile):
        derived = {"generations": value.generations, "rows": value.rows}
        return asdict(value) | derived | {"seconds": value.seconds, "target_bytes": value.target_bytes}
    return asdict(value) if isinstance(value, Outcome) else value
