"""Statements as they may be shown: without their literals and comments, which may hold what was said in a call."""

from __future__ import annotations

import re

# PostgreSQL keeps a statement's first bytes only, so that each kind may also end with the text. What looks like a
# comment in a comment takes the rest: comments nest. https://www.postgresql.org/docs/15/sql-syntax-lexical.html
TOKENS = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*(?:(?!/\*).)*?\*/ | /\*.* )
    | (?P<literal>
        (?<![\w$])[eE]'(?:[^'\\]|''|\\.)*(?:'|\\?\Z)
        | (?:(?<![\w$])(?:[uU]&|[bBxXnN]))?'(?:[^'\\]|''|\\(?!'))*(?:'|\Z|\\'.*)
        | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
        | \.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?
      )
    | (?P<name> "(?:[^"]|"")*(?:"|\Z) | \$\d+ | [^\W\d][\w$]* )
    """,
    re.VERBOSE | re.DOTALL,
)


def without_literals(statement: str) -> str:
    """Return a statement on one line, each literal as ``?``: texts, numbers and comments are gone, names stay.

    pg_stat_statements does the same for queries but leaves commands as they were typed, and a session's statement is as
    it was sent. Whether a text ends at ``\\'`` is up to the session's settings: there the rest of the statement goes.
    """
    return " ".join(TOKENS.sub(_without, statement).split())


def _without(found: re.Match[str]) -> str:
    if found["name"]:
        return found[0]
    return " " if found["comment"] else "?"
