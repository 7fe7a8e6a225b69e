"""Rows that go one by one: what the target holds of them, or why it cannot; and rows as records hold them.

In a record every storage class stays distinguishable. What is larger than a record can be stays in the snapshot,
and the record has its SHA-256: so a comparison finds every difference, and it is known which value is the right one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from callytics.importer.convert.values import Text, Unfit, storage_class

# jsonb holds less than 256 MB (JENTRY_OFFLENMASK in src/include/utils/jsonb.h); the difference is for its overhead.
# A bytea holds 1 GB, but what the driver sends is written in hex, and a statement is no longer than that either.
LARGEST_RECORD_BYTES = 250 * 1024 * 1024
# Larger ones would be in a rejected row twice: as bytes, and as hexadecimal text in its JSON.
LARGE_VALUE_BYTES = 16 * 1024 * 1024
# When a row was written is its installation's own affair: codes are the same whenever they were made.
OWN_TIMES = ("created_at", "updated_at")
# JSON writes a control character in six, and a byte that is not text in two.
MOST_ENCODED = 6


@dataclass(frozen=True)
class ConvertedRow:
    """A row that went value by value: target values, and the (source column, normalisation) pairs it took."""

    rowid: int
    values: dict[str, Any]
    normalisations: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SharedRow:
    """The id of the row that is there in the place of an equal one, and the latter as JSON, as it would be loaded."""

    target_id: int
    own: str


@dataclass(frozen=True)
class RefusedRow:
    """A row that PostgreSQL cannot hold, as SQLite holds it, by source column.

    ``conflicting`` is the id of the row that has its unique key. With ``shared`` the two are equal: nothing is lost.
    """

    rowid: int
    column: str | None
    reason: str
    values: dict[str, Any]
    conflicting: int | None = None
    shared: SharedRow | None = None

    @property
    def storage_class(self) -> str | None:
        """Return SQLite's storage class of the refused value; None if PostgreSQL refused the row as a whole."""
        return None if self.column is None else storage_class(self.values[self.column])

    @property
    def raw(self) -> bytes | None:
        """Return a refused value's bytes as `imports.rejected` keeps them; None for no value, or too large a one."""
        return None if self.column is None else raw_bytes(self.values[self.column])


def encode_row(row: Mapping[str, Any], refused: str | None = None) -> str:
    """Return a source row as JSON in which every storage class stays distinguishable (see `imports.rejected`).

    A large value of the column `refused` is left to `imports.rejected.raw`. Of a row that jsonb can't hold, the largest
    values are left to the snapshot: the same ones each time, or the row would differ from its own record.
    """
    left = _too_large(row, refused)
    encoded = {
        name: _reference(value) if name in left else _encode(value, name == refused) for name, value in row.items()
    }
    return json.dumps(encoded, ensure_ascii=False)


def raw_bytes(value: Any) -> bytes | None:
    """Return the bytes that `imports.rejected.raw` keeps: text and blobs as they are, numbers as decimal text.

    None for a value that is left to the snapshot, as for NULL.
    """
    if value is None or isinstance(value, bytes):
        return None if value is None or len(value) > LARGEST_RECORD_BYTES else bytes(value)
    return repr(value).encode()


def _too_large(row: Mapping[str, Any], refused: str | None) -> set[str]:
    """Return the columns whose values go by reference, so that the rest fits."""
    large = {name: value for name, value in row.items() if isinstance(value, bytes) and len(value) > 64}
    if sum(map(len, large.values())) * MOST_ENCODED <= LARGEST_RECORD_BYTES:
        return set()
    sizes = {name: _size(value, name == refused) for name, value in large.items()}
    total = len(json.dumps({name: None if name in large else _encode(value, False) for name, value in row.items()}))
    left: set[str] = set()
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if total + sum(size for other, size in sizes.items() if other not in left) <= LARGEST_RECORD_BYTES:
            break
        left.add(name)
    return left


def _size(value: bytes, refused: bool) -> int:
    if refused and LARGE_VALUE_BYTES < len(value) <= LARGEST_RECORD_BYTES:
        return 0
    # What is left to the snapshot in any case is not written out several times over to know how much longer it gets.
    if isinstance(value, Text) and len(value) <= LARGEST_RECORD_BYTES:
        return len(json.dumps(_encode(value, False), ensure_ascii=False).encode())
    if isinstance(value, Text):
        return len(value)
    # Without writing hundreds of megabytes of digits to count them.
    return 2 * len(value) + len('{"blob": ""}')


def _encode(value: Any, refused: bool) -> Any:
    if refused and isinstance(value, bytes) and len(value) > LARGE_VALUE_BYTES:
        return {"raw": len(value)}
    if isinstance(value, Text):
        try:
            return value.decoded()
        except Unfit:
            return {"text": value.hex()}
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    return {"real": repr(value)} if isinstance(value, float) else value


def _reference(value: bytes) -> dict[str, Any]:
    return {"snapshot": storage_class(value), "bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
