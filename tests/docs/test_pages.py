"""The manual's pages: both languages alike, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.manual import BLOCK, ENGLISH, KOREAN, MANUAL, blocks, codes, console, rows, text_of
from tests.support.places import REPOSITORY

LONGEST_README = 200
READMES = (REPOSITORY / "README.md", REPOSITORY / "README.ko.md")
KOREAN_MANUAL = MANUAL / "ko"
PAIRS = [
    READMES,
    *((MANUAL / page.name, page) for page in sorted(KOREAN_MANUAL.glob("*.md"))),
]
pairs = pytest.mark.parametrize(("english", "korean"), PAIRS, ids=lambda page: page.name)
KINDS = ["console", "sql", "sh", "python", "json", "log", "text"]


def without_explanations(block: str, kind: str) -> str:
    """What explains a path or a command may be in another language."""
    return re.sub(r"(?<=\S)  +\S.*$" if kind == "text" else r"(?:^| +)# (?!callytics ).*$", "", block, flags=re.M)


def test_readme_is_a_cover() -> None:
    assert len(text_of(READMES[0]).splitlines()) <= LONGEST_README


@pairs
def test_pages_have_the_same_sections_and_code_in_both_languages(english: Path, korean: Path) -> None:
    texts = [text_of(english), text_of(korean)]
    headings = [re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE) for text in texts]
    assert headings[0] == headings[1]
    assert set(codes(texts[0])) == set(codes(texts[1]))


@pairs
@pytest.mark.parametrize("kind", KINDS)
def test_pages_have_the_same_blocks_in_both_languages(english: Path, korean: Path, kind: str) -> None:
    texts = [text_of(english), text_of(korean)]
    shown = [[without_explanations(block, kind) for block in blocks(text, kind)] for text in texts]
    assert shown[0] == shown[1]


def test_korean_shows_no_commands_that_english_does_not() -> None:
    korean = {command: output for command, output in console(KOREAN) if not command.endswith("--help")}
    assert korean.items() <= dict(console(ENGLISH)).items()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "console"])
def test_korean_shows_no_block_that_english_does_not(kind: str) -> None:
    lines = [
        {line for block in blocks(text, kind) for line in without_explanations(block, kind).splitlines()}
        for text in (KOREAN, ENGLISH)
    ]
    assert lines[0] <= lines[1]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a forge and the site give to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_links_of_the_readmes_lead_somewhere(readme: Path) -> None:
    """Those of the manual are checked where the site is built (test_site.py)."""
    for link in re.findall(r"\]\(([^)]+)\)", BLOCK.sub("", text_of(readme))):
        name, _, anchor = link.partition("#")
        target = readme.parent / name if name else readme
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("index", [MANUAL / "index.md", KOREAN_MANUAL / "index.md"], ids=["en", "ko"])
def test_each_first_question_leads_to_its_answer(index: Path) -> None:
    """Data, going back, downtime, server, backup, upgrade, uninstalling, platform: before any other heading."""
    questions = rows(text_of(index).partition("\n## ")[0])
    links = [re.findall(r"\]\(([^)#]+)#?([^)]*)\)", answer) for _, answer in questions]
    pages = ["values", "operations", "cut-over", "operations", "operations", "operations", "operations", "platforms"]
    assert [[name for name, _ in found] for found in links] == [[f"{page}.md"] for page in pages]
    for [(name, anchor)] in links:
        assert not anchor or anchor in anchors(index.parent / name), anchor
    assert len({anchor for [(_, anchor)] in links if anchor}) == 5
