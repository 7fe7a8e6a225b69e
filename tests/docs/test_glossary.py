"""One Korean word for one thing, wherever users read Korean."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.support.manual import KOREAN_PAGES
from tests.support.places import REPOSITORY

GLOSSARY = tomllib.loads(Path(__file__).with_name("glossary.toml").read_text(encoding="utf-8"))
WORDS = [REPOSITORY / "callytics" / room / "words" / "ko.toml" for room in ("api", "report")]
TEXTS = {path: path.read_text(encoding="utf-8") for path in (*KOREAN_PAGES, *WORDS)}


@pytest.mark.parametrize("term", GLOSSARY)
def test_a_thing_has_one_korean_word(term: str) -> None:
    """The word is in use, and none of those that once stood for it."""
    entry = GLOSSARY[term]
    assert any(entry["korean"] in text for text in TEXTS.values())
    assert [(path.name, word) for path, text in TEXTS.items() for word in entry["not"] if word in text] == []
