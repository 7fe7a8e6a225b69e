"""The file that a report is written to: its format follows from its name, and nothing but a report is replaced."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Literal

from callytics.exceptions import OutputRefused
from callytics.report.words import Words

Format = Literal["html", "md", "json"]
# What a completion report can be written as; also the suffixes of its files.
FORMATS: tuple[Format, ...] = ("html", "md", "json")
LANGUAGES = ("en", "ko")
# Enough for the head of a page up to its title.
BEGINNING_BYTES = 4096


def format_of(file: Path | None) -> Format:
    """Return the format that a file's suffix stands for, Markdown for no file; raise OutputRefused for any other."""
    if file is None:
        return "md"
    for format in FORMATS:
        if file.suffix.lower() == f".{format}":
            return format
    raise OutputRefused(f"{file} has no suffix of a report: end its name in .html, .md or .json, or give --format")


def refuse_output(file: Path) -> None:
    """Raise OutputRefused for a file that is there and was not written by `callytics report`, or that can't be made.

    A mistyped name must not cost the user a database or a document. Empty files, and what is no regular file (a pipe,
    /dev/stdout), hold nothing that could be lost.
    """
    folder = file.resolve().parent
    if not folder.is_dir():
        raise OutputRefused(f"the folder of {file} is not there: create it first, or choose another")
    if not file.exists() and not os.access(folder, os.W_OK):
        raise OutputRefused(f"the folder of {file} takes no files of this user: choose another")
    if file.is_file() and file.stat().st_size and not _is_report(file):
        raise OutputRefused(f"{file} is already there and is not a report: choose another name, or move it away first")


def write_report(file: Path, text: str) -> None:
    """Write a report, which names files, for its owner only; an earlier one is replaced as a whole, or not at all."""
    if file.exists() and not file.is_file():
        file.write_text(text, encoding="utf-8")
        return
    # What a link leads to is replaced, not the link.
    target = file.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _is_report(file: Path) -> bool:
    """Recognise a report by how it begins, in any format and language: earlier versions left no other mark."""
    with file.open("rb") as stream:
        beginning = stream.read(BEGINNING_BYTES).decode(errors="replace")
    title = "|".join(re.escape(Words(language)("title")) for language in LANGUAGES)
    forms = (
        # Markdown, HTML, and JSON, each as its writer begins.
        rf"# (?:{title})\s*$",
        rf"<!doctype html>.*<title>(?:{title}): ",
        r'\[\s*\{\s*"id": [0-9]+,\s*"status": "',
    )
    return any(re.match(form, beginning, re.DOTALL | re.MULTILINE) for form in forms)
