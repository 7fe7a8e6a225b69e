"""Names of accounts: which new ones are acceptable, and how names are compared.

Of two names that look or read alike one could pass for the other. So names are compared by NFKC and without case, as
RFC 8265 has it for usernames, and new ones consist of letters that nobody mistakes for others:
https://www.unicode.org/reports/tr39/#Restriction_Level_Detection. Imported names are what they are.
"""

from __future__ import annotations

import unicodedata

from callytics.exceptions import AgentError

LONGEST = 256
# Latin letters that are not a plain one with marks, and yet look like no other. Not among them: ı, ɑ, ƅ …
OTHER_LATIN = frozenset("æðøþßđħłŋœŧ")


def folded(username: str) -> str:
    """Return a username as it is compared with others: NFKC, without upper and lower case."""
    # Nobody's name is longer, and normalising an endless text would take its time.
    short = username[: LONGEST + 1]
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", short).casefold())[:LONGEST]


def looked_up(username: str) -> dict[str, str | None]:
    """Return the query parameters by which ``account_named`` finds an account, both None for what can't be a name.

    Exactly as typed it finds every account. Otherwise it finds the one that reads alike, and none where imported ones
    read alike among themselves.
    """
    if len(username) > LONGEST or not _can_be_kept(username):
        return {"username": None, "folded": None}
    return {"username": username, "folded": folded(username)}


def new_name(text: str) -> str:
    """Return a name as a new account gets it; raise AgentError for one that could pass for another.

    It has letters of Latin, Korean or Chinese script, not Latin and Chinese ones together, and what else ASCII has.
    """
    name = " ".join(unicodedata.normalize("NFKC", text[: LONGEST + 1]).split())
    if not name or len(text) > LONGEST or len(name) > LONGEST or not name.isprintable():
        raise AgentError(f"the username must have 1 to {LONGEST} characters, all of which can be seen")
    scripts = {_script(character) for character in name}
    if {"Latin", "Chinese"} <= scripts:
        raise AgentError("the username mixes Latin and Chinese letters, some of which look alike: use one of them")
    return name


def _script(character: str) -> str:
    if character.isascii():
        return "Latin" if character.isalpha() else "common"
    # Korean syllables only: single letters such as ㅣ and ㅡ look like l and -, and the filler like nothing.
    if "가" <= character <= "힣":
        return "Korean"
    if unicodedata.name(character, "").startswith("CJK UNIFIED IDEOGRAPH"):
        return "Chinese"
    if character.lower() in OTHER_LATIN or _is_plain_with_marks(character):
        return "Latin"
    raise AgentError(
        f"the username holds U+{ord(character):04X}, which may pass for another character: use Latin, Korean or "
        "Chinese letters, and what else ASCII has"
    )


def _is_plain_with_marks(character: str) -> bool:
    parts = unicodedata.normalize("NFD", character)
    return len(parts) > 1 and parts[0].isascii() and parts[0].isalpha()


def _can_be_kept(text: str) -> bool:
    """Tell whether PostgreSQL can hold a text: neither NUL nor half a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
