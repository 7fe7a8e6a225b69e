"""What the server's values become in Python, where psycopg's own way would refuse or change some."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format

# Text as the sources had it, which JSON can hold as well.
TEXTS = ("inet", "cidr", "uuid")
# PostgreSQL's infinity is later than any moment, which to Python is its last.
ENDS: dict[str, tuple[Any, Any]] = {
    "date": (date.min, date.max),
    "timestamp": (datetime.min, datetime.max),
    "timestamptz": (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
}


def register(adapters: AdaptersMap) -> None:
    """Have infinite moments returned as Python's first and last, 24:00 as 00:00, ids and addresses as text."""
    text = adapters.get_loader(adapters.types["text"].oid, Format.TEXT)
    assert text is not None
    for name in TEXTS:
        adapters.register_loader(name, text)
    for name, loader in LOADERS.items():
        adapters.register_loader(name, loader)


def _bounded(name: str) -> type[Loader]:
    """Return a loader that knows infinity, and leaves all else to psycopg's, which is written in C."""
    usual: Any = psycopg.adapters.get_loader(psycopg.adapters.types[name].oid, Format.TEXT)
    least, most = ENDS[name]

    class Bounded(Loader):
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load = usual(oid, context).load

        def load(self, data: Buffer) -> Any:
            text = bytes(data)
            # Of all moments only infinity ends so.
            if text.endswith(b"y"):
                return least if text.startswith(b"-") else most
            return self._load(text)

    return Bounded


class _Time(Loader):
    """A time of day; the day's last, 24:00, is its first to Python."""

    def load(self, data: Buffer) -> time:
        return time.fromisoformat(bytes(data).decode().replace("24:00:00", "00:00:00", 1))


LOADERS: dict[str, type[Loader]] = {name: _bounded(name) for name in ENDS} | {"time": _Time}
