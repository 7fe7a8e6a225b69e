"""Which text PostgreSQL can hold: any but NUL and half characters (lone surrogates), which Python's str may have."""

from __future__ import annotations

import re

# An escape in JSON that is not itself escaped: "\\u0000" is a backslash and five letters.
NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text; raise ValueError, which does not quote it, for what PostgreSQL can't hold."""
    found = UNSTORABLE.search(text)
    if found is None:
        return text
    if found[0] == "\0":
        raise ValueError("holds a NUL character, which PostgreSQL can't store")
    raise ValueError("holds half a character (a lone surrogate)")


def storable_json(text: str) -> str:
    """Return JSON that jsonb can hold; raise ValueError for any other, as `storable` does."""
    if NUL_IN_JSON.search(text):
        raise ValueError("holds a NUL character, which PostgreSQL can't store")
    return storable(text)


def replaced(text: str, by: str) -> str:
    """Return the text with ``by`` in place of each character that PostgreSQL can't hold."""
    return UNSTORABLE.sub(by, text)
