"""One Korean word for one thing and one level of politeness, wherever users read Korean."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.manual import BLOCK, KOREAN_PAGES
from tests.support.places import REPOSITORY

GLOSSARY = tomllib.loads(Path(__file__).with_name("glossary.toml").read_text(encoding="utf-8"))
WORDS = [REPOSITORY / "callytics" / room / "words" / "ko.toml" for room in ("api", "report")]
TEXTS = {path: path.read_text(encoding="utf-8") for path in (*KOREAN_PAGES, *WORDS)}

PARTICLES = tomllib.loads(Path(__file__).with_name("particles.toml").read_text(encoding="utf-8"))
AFTER_CONSONANT, AFTER_VOWEL = "은이을과", "는가를와"


def ends_in_consonant(noun: str) -> bool:
    return (ord(noun[-1]) - ord("가")) % 28 > 0


CONSONANT = [*filter(ends_in_consonant, PARTICLES["nouns"]), *PARTICLES["consonant"], r"(?<![A-Za-z])[013678]"]
VOWEL = [*(set(PARTICLES["nouns"]) - set(CONSONANT)), *PARTICLES["vowel"], r"(?<![A-Za-z])[2459]"]
WRONG_PARTICLE = re.compile(
    rf"(?:{'|'.join(CONSONANT)})`?[{AFTER_VOWEL}](?![가-힣])|(?:{'|'.join(VOWEL)})`?[{AFTER_CONSONANT}](?![가-힣])"
)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: "/".join(path.parts[-2:]))
def test_particles_follow_the_sound_before_them(path: Path) -> None:
    assert [match[0] for match in WRONG_PARTICLE.finditer(BLOCK.sub("", TEXTS[path]))] == []


def test_a_particle_of_the_wrong_form_is_found() -> None:
    assert WRONG_PARTICLE.findall("상담사은 파일를 PostgreSQL를 ID을 `0`가") == [
        "상담사은",
        "파일를",
        "PostgreSQL를",
        "ID을",
        "0`가",
    ]
    assert WRONG_PARTICLE.findall("상담사는 파일을 PostgreSQL을 ID를 `0`이, 값은") == []


@pytest.mark.parametrize("term", GLOSSARY)
def test_a_thing_has_one_korean_word(term: str) -> None:
    """The word is in use, and none of those that once stood for it."""
    entry = GLOSSARY[term]
    assert any(entry["korean"] in text for text in TEXTS.values())
    assert [(path.name, word) for path, text in TEXTS.items() for word in entry["not"] if word in text] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: "/".join(path.parts[-2:]))
def test_sentences_are_all_as_polite(path: Path) -> None:
    """Formal 하십시오 everywhere: none in the 해요 of conversation, none in the plain 한다 of books."""
    prose = BLOCK.sub("", re.sub(r"^#.*$", "", TEXTS[path], flags=re.MULTILINE) if path in WORDS else TEXTS[path])
    assert re.findall(r"[^\n]{0,20}(?:[가-힣]요|[가-힣]다(?<!니다))[.?!](?=[\s\"|)]|$)", prose) == []
