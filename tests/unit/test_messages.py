"""What users read is put together well: numbers agree with nouns, nothing is glued together, no name of ours."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from callytics.postgres.text import counted, quoted, sized
from tests.support.messages import messages, parsed
from tests.support.places import REPOSITORY

# Verbs of one subject, and what else ends like a plural without being one.
VERBS = frozenset(
    {"as", "does", "fails", "has", "holds", "is", "keeps", "lacks", "ms", "needs", "owns", "stays", "takes", "was"}
)
# Limits, which are never 1; what is only told from a larger number on; what is too exact to be rounded.
MANY = re.compile(
    r"[A-Z_]+$|(?:self\.most|size_bytes|age|length|actual|each)$|row\['(?:requested|dead_rows|scans)'\]$|len\(deferred\)$"
)
AGREEING = re.compile(r"(?:counted|sized|size|span|words\.\w+)\(")
# SQL, whose words are no prose, and what machines read.
PROGRAM = re.compile(r"\b(select|from|where|join|update|insert|order by|collate|interval)\b|^# HELP", re.IGNORECASE)
# What a message calls by the name that its users know.
KNOWN = frozenset({"PostgreSQL", "SQLite", "GiB", "MiB", "PgBouncer", "FastAPI", "OpenAPI", "IPv"})


def texts() -> Iterator[tuple[str, ast.JoinedStr]]:
    """Yield place and pieces of every text of the package that something is put into, programs left out."""
    for path, module in parsed().items():
        for node in ast.walk(module):
            if isinstance(node, ast.JoinedStr) and not PROGRAM.search(ast.unparse(node)):
                yield f"{path.relative_to(REPOSITORY)}:{node.lineno}", node


def is_bare_number(text: ast.JoinedStr) -> bool:
    """Tell whether a number that may be 1 is followed by a noun in the plural."""
    before = ""
    for value, after in zip(text.values, text.values[1:], strict=False):
        if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
            word = re.match(r" (?:[a-z]+ )?([a-z]+s)\b(?!')", str(after.value))
            if word and word[1] not in VERBS and is_number(value) and not before.endswith(" of "):
                return True
        before = str(getattr(value, "value", ""))
    return False


def is_number(value: ast.FormattedValue) -> bool:
    """Tell whether a value is written with commas, or is a count by its name."""
    source = ast.unparse(value.value)
    grouped = value.format_spec is not None and "," in ast.unparse(value.format_spec)
    named = re.search(r"^len\(|(?:rows|steps|number|count)$", source)
    return bool(grouped or named) and not MANY.search(source) and not AGREEING.match(source)


def test_a_number_agrees_with_its_noun() -> None:
    """By `counted`, which all share."""
    assert [(place, ast.unparse(text)) for place, text in texts() if is_bare_number(text)] == []


def test_no_plural_is_made_by_hand() -> None:
    """An s that is put on by a condition forgets the words that take es, and the verb after them."""
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path, module in parsed().items()
        for node in ast.walk(module)
        if (isinstance(node, ast.IfExp) and "s" in [getattr(side, "value", None) for side in (node.body, node.orelse)])
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and getattr(node.left, "value", None) == "s")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("number", "noun", "done", "said"),
    [
        (0, "row", "", "0 rows"),
        (1, "row", "", "1 row"),
        (1, "clash", "settled", "1 clash was settled"),
        (1234, "clash", "settled", "1,234 clashes were settled"),
        (2, "index", "", "2 indexes"),
    ],
)
def test_counted(number: int, noun: str, done: str, said: str) -> None:
    assert counted(number, noun, done) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(999, "999 bytes"), (1500, "1.5 kB"), (150_446_080, "150.4 MB"), (2_100_000_000, "2.1 GB")],
)
def test_sized(number: int, said: str) -> None:
    assert sized(number) == said


# Two punctuation marks, or a cause alone between two colons, where parentheses tell it from the remedy.
GLUED = re.compile(r"[?!.:;,]\s*[:;,](?!\w)|: …: (?!…$)|: …: …$| [:;,]")


def test_no_half_is_glued_to_another() -> None:
    assert [line for line in messages() if GLUED.search(line[1])] == []


def test_no_message_names_what_only_the_code_knows() -> None:
    """Classes, modules, functions and values of Python are no words of users; `.py` files that one runs are."""
    inner = re.compile(r"\b(?:[A-Z][a-z]+)+[A-Z][a-z]+\w*|\bcallytics\.[a-z_]+|\b[a-z_]+\(\)|\b(?:None|True|False)\b")
    said = [(place, text) for place, text in messages() if text != "None"]
    found = [(place, name) for place, text in said for name in inner.findall(text) if name not in KNOWN]
    assert found == []


# A value between the quotes of a command, and quotes of its own around it. Fixed words need none.
QUOTED = re.compile(r"'(?:callytics|systemctl|journalctl|pyinfra|psql|pgbackrest|patronictl) [^']*\{")


def test_a_command_with_a_value_is_put_between_quotes_by_one_function() -> None:
    """By `quoted`: a path with quotes would end those of the whole."""
    by_hand = [
        (f"{path.relative_to(REPOSITORY)}:{node.lineno}", text)
        for path, module in parsed().items()
        for node in ast.walk(module)
        if isinstance(node, ast.JoinedStr) and QUOTED.search(text := "".join(map(piece, node.values)))
    ]
    assert by_hand == []


def piece(part: ast.expr) -> str:
    """Return a piece of a text, braces for what is put in."""
    return str(part.value) if isinstance(part, ast.Constant) else "{}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "'callytics import'"),
        ((3, "--force"), "'callytics import 3 --force'"),
        (("a.sqlite", Path("통화/b.sqlite")), "'callytics import a.sqlite \"통화/b.sqlite\"'"),
        (("my calls.sqlite",), "'callytics import \"my calls.sqlite\"'"),
        (("",), "'callytics import \"\"'"),
        (("$HOME.sqlite",), "\"callytics import '$HOME.sqlite'\""),
        (("it's.sqlite",), None),
        (('a"b`c\\d!e',), None),
        (("line\nbreak \udcff",), None),
    ],
)
def test_a_command_in_a_message_is_what_a_shell_takes(words: tuple[str, ...], said: str | None) -> None:
    found = quoted("callytics import", *words)
    assert said is None or found == said
    assert found[0] == found[-1]
    shown = subprocess.run(["bash", "-c", f"printf '%s\\0' {found[1:-1]}"], stdout=subprocess.PIPE, check=True).stdout
    given = [os.fsencode(word if isinstance(word, Path) else str(word)) for word in words]
    assert shown.split(b"\0")[:-1] == [b"callytics", b"import", *given]


def test_sizes_have_units() -> None:
    """A size that can be large is rounded to its unit."""
    large = re.compile(r"\{[^{}]*(?:needed|free|grown|_bytes)[^{}]*\} bytes|\{(?:needed|free)\} (?!:)")
    found = [(place, ast.unparse(text)) for place, text in texts() if large.search(ast.unparse(text))]
    assert [one for one in found if "SHA-256" not in one[1]] == []
