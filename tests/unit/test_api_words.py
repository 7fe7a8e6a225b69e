"""The status page's parts: languages, words, and nothing from elsewhere."""

from __future__ import annotations

import re
import tomllib
from string import Template

import pytest

from callytics.api.routes.page import LANGUAGES, STATIC, WORDS, preferred


def words(language: str) -> dict[str, dict[str, str]]:
    return tomllib.loads((WORDS / f"{language}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("ko", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("fr,de;q=0.9,ko;q=0.1", "ko"),
        ("fr, de", "en"),
        ("ko;q=0", "en"),
        ("ko;q=0.1,en;q=0.2", "en"),
        ("*", "en"),
        ("ko;q=x;;,=;q", "en"),
        ("ko;q=nan", "en"),
    ],
)
def test_the_page_speaks_what_its_reader_prefers(accepted: str, language: str) -> None:
    assert preferred(accepted) == language


def test_every_language_says_everything() -> None:
    everything = {language: {part: sorted(texts) for part, texts in words(language).items()} for language in LANGUAGES}
    assert everything["ko"] == everything["en"]


def test_every_word_is_used_and_every_word_used_is_there() -> None:
    template = Template((STATIC / "status.html").read_text(encoding="utf-8"))
    assert set(template.get_identifiers()) == {*words("en")["page"], "language", "texts", "charts"}
    script = (STATIC / "status.js").read_text(encoding="utf-8")
    unused = [word for word in words("en")["script"] if not re.search(rf"\b{word}\b", script)]
    # The verdicts and states come from the service.
    assert unused == ["healthy", "verified", "rejects", "different", "running", "undone"]


def test_the_page_names_no_other_host() -> None:
    for part in STATIC.iterdir():
        assert "//" not in re.sub(r"^\s*//.*$", "", part.read_text(encoding="utf-8"), flags=re.MULTILINE), part
