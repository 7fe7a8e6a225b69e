"""README and the manual as the tests read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.places import REPOSITORY

MANUAL = REPOSITORY / "docs"
ENGLISH_PAGES = [REPOSITORY / "README.md", *sorted(MANUAL.glob("*.md"))]
KOREAN_PAGES = [REPOSITORY / "README.ko.md", *sorted((MANUAL / "ko").glob("*.md"))]
TROUBLESHOOTING = [MANUAL / "troubleshooting.md", MANUAL / "ko" / "troubleshooting.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(*pages: Path) -> str:
    """Return pages as one text."""
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


ENGLISH, KOREAN = text_of(*ENGLISH_PAGES), text_of(*KOREAN_PAGES)


def page(name: str) -> str:
    """Return a page of the English manual."""
    return text_of(MANUAL / f"{name}.md")


def section(text: str, title: str) -> str:
    """Return what stands under a heading of the second level."""
    found = text.partition(f"\n## {title}\n")[2]
    assert found, title
    return found.partition("\n## ")[0]


def blocks(text: str, kind: str) -> list[str]:
    """Return what stands in the fenced blocks of one kind."""
    return [block for found, block in BLOCK.findall(text) if found == kind]


def console(text: str) -> Iterator[tuple[str, str]]:
    """Yield every command of the console blocks with the output that is shown."""
    for block in blocks(text, "console"):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = entry.partition("\n")
            yield command, output.strip("\n")


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table's rows, the heads left out."""
    lines = re.findall(r"^\| (.*) \|$", re.sub(r"^\|.*\n\|---.*\n", "", text, flags=re.MULTILINE), re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def codes(text: str) -> list[str]:
    """Return what stands between backticks, code blocks left out."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def explained(page: Path) -> set[str]:
    """Return the lines that a page explains: what stands between backticks in its entries."""
    entries = re.findall(r"^- (.+?)(?=\n- |\n\n|\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    return {code for entry in entries for code in re.findall(r"`([^`]+)`", entry)}


def shown(pattern: str, output: str) -> bool:
    """Tell whether an output is what is shown: … stands for the rest of a line, or for any lines."""
    lines = (
        r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in pattern.splitlines()
    )
    return bool(re.fullmatch("".join(lines), output.strip("\n") + "\n"))
