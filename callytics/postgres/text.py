"""Which text and which JSON PostgreSQL can hold.

Text: any but NUL and half characters (lone surrogates), which Python's str may have. jsonb keeps the value of a JSON
text, not the text: it refuses the same two, keeps the last of repeated keys, and holds numbers as `numeric`
(https://www.postgresql.org/docs/15/datatype-json.html).
"""

from __future__ import annotations

import json
import os
import re
import shlex
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

# An escape in JSON that is not itself escaped: "\\u0000" is a backslash and five letters.
NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# Parts of letters and emoji in several scripts.
JOINERS = "\u200c\u200d\u3000\u00a0"
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Of JSON that is taken for what it says. Python's parser goes as deep as its caller leaves room on the stack, so that
# a load and its verification could read a document differently.
DEEPEST_JSON = 500
NESTING = re.compile(r'[\[{]|[\]}]|"(?:[^"\\]|\\.)*"?', re.DOTALL)
# How the record of a path begins that is no text; an absolute path begins with a slash.
URI = "file://"


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


def shown(text: str) -> str:
    """Return text from a file or a database as one line that is harmless wherever it is shown.

    Escape sequences, line breaks, marks that turn the direction of writing, and bytes of a name that are not UTF-8
    become their escapes (`\\x1b`, `\\n`, `\\u202e`, `\\xb0`); all other text stays as it is.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def named(name: str) -> str:
    """Return a name as a message has it: between quotes where nothing would be seen of it."""
    return name if name.strip() else f'"{name}"'


def _shown(character: str) -> str:
    if character.isprintable() or character in JOINERS:
        return character
    # How Python holds a byte that is not UTF-8 (PEP 383).
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def path_text(path: str | os.PathLike[str]) -> str:
    """Return an absolute path as text that PostgreSQL can hold, and from which `text_path` returns it exactly.

    That is the path itself, or its file URI where its bytes are not UTF-8: to Linux a name is bytes, of no encoding.
    """
    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"{URI}{quote_from_bytes(raw)}"


def text_path(text: str) -> str:
    """Return the path that `path_text` made a text of."""
    is_uri = text.startswith(URI)
    return os.fsdecode(unquote_to_bytes(text.removeprefix(URI)) if is_uri else text.encode())


def shell_word(word: str | os.PathLike[str]) -> str:
    """Return a word of a command as it can be pasted into a shell (bash, ksh, zsh), also where it is no plain text."""
    text = os.fspath(word)
    if shown(text) == text:
        return shlex.quote(text)
    plain = (c if c.isprintable() and c not in "\\'" else _byte_escapes(c) for c in text)
    return f"$'{''.join(plain)}'"


def quoted(line: str, *words: object) -> str:
    """Return a command with its words as messages have it: between quotes, and pasted into a shell without them.

    A word that needs quotes has those that the whole has not.
    """
    said = " ".join([line, *map(_inner_word, words)])
    return f'"{said}"' if "'" in said else f"'{said}'"


def _inner_word(word: object) -> str:
    text = os.fspath(word) if isinstance(word, os.PathLike) else str(word)
    # Between double quotes nothing else has a meaning.
    is_plain = shown(text) == text and not set(text) & set("\"$`\\!'")
    return f'"{text}"' if is_plain and shlex.quote(text) != text else shell_word(text)


def _byte_escapes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def shown_json(text: str) -> str:
    """Return JSON, the same value, with escapes for what a terminal would obey."""
    return "".join(c if c.isprintable() or c in JOINERS or c == "\n" else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def parse_json(text: str) -> Any:
    """Parse JSON so that two results are equal exactly if jsonb holds the same value; `ValueError` if it is not JSON.

    Numbers become tagged Decimals, so that 1 and true, and numbers beyond a double, stay apart.
    """
    return _decoder().decode(text)


@cache
def _decoder() -> json.JSONDecoder:
    # One for all texts: json.loads makes another for each, which takes longer than most texts do.
    return json.JSONDecoder(
        parse_int=_number, parse_float=_number, parse_constant=_refuse_constant, object_pairs_hook=_object
    )


def is_exact_json(text: str) -> bool:
    """Tell whether jsonb can hold this text with no loss but that of white space and the order of keys.

    It can't if the text is not JSON, repeats a key, contains NUL or half a surrogate pair, or a number that `numeric`
    would round; nested deeper than `DEEPEST_JSON` it is not tried.
    """
    if _is_deep(text):
        return False
    try:
        parse_json(text)
        # Only an escape can bring what the text itself does not hold: NUL, or half a surrogate pair.
        if "\\u" in text:
            json.dumps(json.loads(text), ensure_ascii=False).encode()
            return NUL_IN_JSON.search(text) is None
    except ValueError:
        return False
    return True


def _is_deep(text: str) -> bool:
    # Nearly no text has as many brackets at all, and counting them takes no time.
    if text.count("[") + text.count("{") <= DEEPEST_JSON:
        return False
    depth = deepest = 0
    for found in NESTING.finditer(text):
        depth += 1 if found[0] in "[{" else -1 if found[0] in "]}" else 0
        deepest = max(deepest, depth)
    return deepest > DEEPEST_JSON


def _number(text: str) -> tuple[str, Decimal]:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError("an exponent beyond reason") from error
    # numeric keeps 16,383 digits after the point and rounds the rest away.
    if abs(number.adjusted()) > 1000 or (len(text) > 1000 and int(number.as_tuple().exponent) < -15_000):
        raise ValueError("a number beyond what numeric should be asked to hold")
    return ("number", number)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is repeated")
    return members


def counted(number: int, noun: str, done: str = "") -> str:
    """Return a number with its noun, and what was done to it: 1 row was changed, 2 rows were changed."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith(("sh", "x")) else f"{noun}s"
    verb = f" {'was' if number == 1 else 'were'} {done}" if done else ""
    return f"{number:,} {plural}{verb}"


def sized(number: int) -> str:
    """Return a number of bytes for reading: 999 bytes, 1.5 kB, 2.1 GB."""
    if number < 1000:
        return counted(number, "byte")
    power = min((len(str(number)) - 1) // 3, 4)
    return f"{number / 1000**power:,.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def minute(moment: datetime) -> str:
    """Return a moment for reading, to the minute and in UTC, whatever zone it came in."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
