"""What is looked for: words that those of a transcript begin with, and words that stand anywhere in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
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
PHRASE = re.compile(r'"([^"]*)"')
# Words of Hangul syllables only, of which an index of pairs knows those of two and more. Others than Korean join no
# nouns: nobody who looks for art means start.
JOINED = re.compile(r"(?<!\w)[가-힣]{2,}(?!\w)")
SAID = {"said_t": "t.text_content", "said_u": "u.text"}


@dataclass(frozen=True)
class Words:
    """All of these must be said in a sentence; without any, none is found.

    ``query`` is a full-text query whose words are prefixes, ``inside`` are words that may stand inside others. Both
    together are ``marked`` in excerpts, where the words of ``inside`` are prefixes as well.
    """

    query: str
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
        return {"query": self.query, "inside": [f"%{word}%" for word in self.inside], "pairs": pairs}

    def _condition(self, text: Composed, by_index: bool) -> Composed:
        names = ["said_words"] if self.query else []
        if self.inside:
            names += ["said_pairs", "said_inside"] if by_index else ["said_inside"]
        return Composed(" and ".join(CONDITIONS.text(name, text=text) for name in names))


def read_words(postgres: PostgreSQLManager, text: Any) -> Words:
    """Return what a text looks for: Korean words inside others where the index for that is there.

    Raises InvalidSearch for what is no text.
    """
    plain, *others = PHRASE.split(_searchable(text))
    plain, phrases = " ".join([plain, *others[1::2]]), others[::2]
    query = _prefix_query(postgres, plain, phrases)
    inside = {*JOINED.findall(plain)}
    if not inside or not postgres.execute_query(SQL["finds_inside"], fetch="val"):
        return Words(query, marked=query)
    return Words(_prefix_query(postgres, JOINED.sub(" ", plain), phrases), tuple(sorted(inside)), query)


def _prefix_query(postgres: PostgreSQLManager, text: str, phrases: Sequence[str]) -> str:
    return str(postgres.execute_query(SQL["prefix_query"], {"text": text, "phrases": phrases}, fetch="val"))


def _searchable(text: Any) -> str:
    """Return a text in composed form (NFC), as keyboards and speech recognition write it, with a space for what
    PostgreSQL can't hold: names of files that come from macOS, and what is copied of them, hold Hangul in parts (NFD).
    """
    if not isinstance(text, str):
        raise InvalidSearch("what is looked for must be text")
    return unicodedata.normalize("NFC", replaced(text[:LONGEST_SEARCH], " "))
