"""What is looked for: words that those of a transcript begin with, and words that stand anywhere in it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callytics.calls.finding.seen import CONDITIONS
from callytics.exceptions import InvalidSearch
from callytics.postgres import PostgreSQLManager
from callytics.postgres.sql import Composed, Queries
from callytics.postgres.text import replaced

SQL = Queries(Path(__file__).with_name("search.sql"))
LONGEST_SEARCH = 1_000
# Words between quotes, and how many others may be between two of them that need not follow each other.
PHRASE = re.compile(r'"([^"]*)"(?:~([0-9]+))?')
FARTHEST = 10
# The index reads of each all places where it is said: hundreds of frequent ones took a minute.
MOST_WORDS = 32
# Words of Hangul syllables only, of which an index of pairs knows those of two and more. Others than Korean join no
# nouns: nobody who looks for art means start.
JOINED = re.compile(r"(?<!\w)[가-힣]{2,}(?!\w)")
SAID = {"said_t": "t.text_content", "said_u": "u.text"}


@dataclass(frozen=True)
class Words:
    """All of these must be said in a sentence; without any, none is found.

    ``query`` is a full-text query whose words are prefixes, ``ordered`` says how some of them follow each other, and
    ``inside`` are words that may stand inside others. All words are ``marked`` in excerpts, as prefixes those of
    ``inside`` as well.
    """

    query: str
    ordered: str = ""
    inside: tuple[str, ...] = ()
    marked: str = ""

    def __bool__(self) -> bool:
        return bool(self.query or self.inside)

    def parts(self, *, by_index: bool = True) -> dict[str, Composed]:
        """Return what a query asks of the sentences t and u: for the indexes, or where rows are read one by one."""
        return {part: self._condition(Composed(text), by_index) for part, text in SAID.items()}

    def values(self) -> dict[str, Any]:
        """Return the parameters of the conditions."""
        pairs = sorted({word[at : at + 2] for word in self.inside for at in range(len(word) - 1)})
        inside = [f"%{word}%" for word in self.inside]
        return {"query": self.query, "ordered": self.ordered, "inside": inside, "pairs": pairs}

    def _condition(self, text: Composed, by_index: bool) -> Composed:
        names = [name for name, wanted in (("said_words", self.query), ("said_ordered", self.ordered)) if wanted]
        if self.inside:
            names += ["said_pairs", "said_inside"] if by_index else ["said_inside"]
        return Composed(" and ".join(CONDITIONS.text(name, text=text) for name in names))


def read_words(postgres: PostgreSQLManager, text: Any) -> Words:
    """Return what a text looks for: Korean words inside others where the index for that is there.

    Raises InvalidSearch for what is no text, or has too many words.
    """
    plain, *others = PHRASE.split(_searchable(text))
    plain, phrases, near = " ".join([plain, *others[2::3]]), others[::3], [*map(_distance, others[1::3])]
    inside = tuple(sorted({*JOINED.findall(plain)}))
    values = {"plain": plain, "apart": JOINED.sub(" ", plain), "phrases": phrases, "near": near}
    [found] = postgres.execute_query(SQL["words"], values)
    if found["words"] > MOST_WORDS:
        raise InvalidSearch(f"what is looked for must have at most {MOST_WORDS} words, not {found['words']}")
    if inside and found["finds_inside"]:
        return Words(found["apart"], found["ordered"], inside, found["whole"])
    return Words(found["whole"], found["ordered"], marked=found["whole"])


def _distance(number: str | None) -> int | None:
    return None if number is None else min(int(number), FARTHEST)


def _searchable(text: Any) -> str:
    """Return a text in composed form (NFC), as keyboards and speech recognition write it, with a space for what
    PostgreSQL can't hold: names of files that come from macOS, and what is copied of them, hold Hangul in parts (NFD).
    """
    if not isinstance(text, str):
        raise InvalidSearch("what is looked for must be text")
    return unicodedata.normalize("NFC", replaced(text[:LONGEST_SEARCH], " "))
