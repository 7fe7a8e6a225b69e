"""Named queries: SQL kept in .sql files, each headed by a line `-- name: …` and a comment that says what it does."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries(path: Path) -> dict[str, str]:
    """Return the queries of a file by name."""
    _, *parts = NAME.split(path.read_text(encoding="utf-8"))
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
