"""Which rows two snapshots can differ in, by the pages that differ: most of a file need not be read row by row.

A row is in a leaf page of its table's b-tree, and what does not fit there is in overflow pages that it leads to
(https://sqlite.org/fileformat2.html). Where a leaf page belongs to a table in both snapshots and is the same, its rows
are the same as well, unless one of their overflow pages differs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import error, unpack_from

from callytics.importer.source.copying import HEADER_BYTES, LOCK_BYTE, page_size

INTERIOR_INDEX, INTERIOR_TABLE, LEAF_TABLE = 2, 5, 13
LEAVES = {10, LEAF_TABLE}
# More levels than a b-tree of any size has.
DEEPEST = 40
BLOCK_BYTES = 1 << 20

# The first and the last row number of rows that follow one another in a table.
RowRange = tuple[int, int]


class NotUnderstood(Exception):
    """The pages are not what is expected: all rows have to be compared. Never leaves the package."""


class Pages:
    """The pages of a snapshot, by their numbers from 1."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.header = os.pread(self._file, HEADER_BYTES, 0)
        self.size = page_size(self.header)
        self.count = os.fstat(self._file).st_size // max(1, self.size)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def page(self, number: int) -> bytes:
        """Return a page."""
        if not 0 < number <= self.count:
            raise NotUnderstood(f"page {number} of {self.count}")
        return os.pread(self._file, self.size, (number - 1) * self.size)

    def blocks(self) -> Iterator[bytes]:
        """Yield all pages in blocks of as many."""
        length = max(1, BLOCK_BYTES // self.size) * self.size
        for start in range(0, self.count * self.size, length):
            yield os.pread(self._file, length, start)

    def parts(self, number: int) -> tuple[int, bytes, tuple[int, ...]]:
        """Return the kind of a b-tree's page, its content, and where its cells are."""
        page = self.page(number)
        start = HEADER_BYTES if number == 1 else 0
        kind, _, cells = unpack_from(">BHH", page, start)
        width = 8 if kind in LEAVES else 12
        if start + width + 2 * cells > self.size:
            raise NotUnderstood(f"{cells} cells in page {number}")
        return kind, page, unpack_from(f">{cells}H", page, start + width)

    def children(self, number: int) -> list[int]:
        """Return the pages that an interior page leads to."""
        kind, page, cells = self.parts(number)
        if kind not in (INTERIOR_INDEX, INTERIOR_TABLE):
            raise NotUnderstood(f"page {number} is of kind {kind}")
        last = unpack_from(">I", page, (HEADER_BYTES if number == 1 else 0) + 8)[0]
        return [*(unpack_from(">I", page, cell)[0] for cell in cells), last]

    def rows(self, number: int) -> RowRange | None:
        """Return the first and the last row number in a leaf page of a table; None without rows."""
        kind, page, cells = self.parts(number)
        if kind != LEAF_TABLE:
            raise NotUnderstood(f"page {number} is of kind {kind}")
        return (_number(page, cells[0]), _number(page, cells[-1])) if cells else None

    def free(self) -> Iterator[int]:
        """Yield the pages that are in no use."""
        trunk, count = unpack_from(">II", self.header, 32)
        while trunk and count > 0:
            yield trunk
            page = self.page(trunk)
            trunk, leaves = unpack_from(">II", page)
            if 8 + 4 * leaves > self.size:
                raise NotUnderstood(f"{leaves} free pages in one")
            yield from unpack_from(f">{leaves}I", page, 8)
            count -= 1 + leaves


def most_overflow(path: Path, roots: Iterable[int]) -> int:
    """Return how many bytes of rows are at most in overflow pages, by the roots of all b-trees of a snapshot.

    Only interior pages are read. Raises ``NotUnderstood`` where that tells nothing.
    """
    with _opened(path) as (pages,):
        trees = sum(Tree.of(pages, root).pages(pages) for root in roots)
        return (pages.count - trees - sum(1 for _ in pages.free())) * pages.size


@dataclass(frozen=True)
class Tree:
    """The interior pages of a b-tree: those that lead to leaves, and those above them; none where one leaf is all."""

    root: int | None
    lowest: frozenset[int] = frozenset()
    above: frozenset[int] = frozenset()

    @classmethod
    def of(cls, pages: Pages, root: int | None) -> Tree:
        """Walk down a b-tree to the pages above its leaves; without a root there is nothing to walk."""
        if root is None or pages.parts(root)[0] in LEAVES:
            return cls(root)
        level, above = [root], set[int]()
        for _ in range(DEEPEST):
            if pages.parts(pages.children(level[0])[0])[0] in LEAVES:
                return cls(root, frozenset(level), frozenset(above))
            above.update(level)
            level = [child for number in level for child in pages.children(number)]
            if len(level) > pages.count:
                break
        raise NotUnderstood(f"the tree of page {root} has no end")

    def pages(self, pages: Pages) -> int:
        """Return how many pages the tree has."""
        below = sum(len(pages.children(number)) for number in self.lowest) if self.lowest else 1
        return len(self.lowest) + len(self.above) + below

    def leaves(self, pages: Pages, besides: frozenset[int]) -> Iterable[int]:
        """Return the leaves, but for those below some pages."""
        if not self.lowest:
            return [self.root] if self.root else []
        return (leaf for number in self.lowest - besides for leaf in pages.children(number))


class Difference:
    """The pages that differ between two snapshots, and the rows of tables that are in them."""

    def __init__(self, was: Pages, now: Pages) -> None:
        # With auto_vacuum some pages hold pointers back, of which nothing here knows.
        same = (was.size, was.header[20]) == (now.size, now.header[20]) and was.size >= 512
        if not same or any(was.header[52:56] + now.header[52:56]):
            raise NotUnderstood("other pages")
        self.was, self.now = was, now
        self.changed = _changed(was, now)
        # Of the pages that differ, those that hold no part of a row that began in another page.
        self._explained = {1, LOCK_BYTE // was.size + 1}
        self._explained.update(self.changed.intersection(was.free()), self.changed.intersection(now.free()))

    def leaves(self, was: int | None, now: int | None) -> tuple[set[int], set[int]]:
        """Return the leaves of a b-tree, as it was and as it is, that differ or are the other one's no leaves.

        ``was`` and ``now`` are its roots, None where there is no such tree. What its pages hold is explained then.
        """
        both = [(self.was, Tree.of(self.was, was)), (self.now, Tree.of(self.now, now))]
        # Pages that are the same, and above leaves in both: they lead to the same leaves.
        shared = both[0][1].lowest.intersection(both[1][1].lowest) - self.changed
        differing = {leaf for number in shared for leaf in self.changed.intersection(self.now.children(number))}
        before, after = (set(tree.leaves(pages, besides=shared)) for pages, tree in both)
        self._explained |= differing.union(before, after, *(tree.lowest | tree.above for _, tree in both))
        return differing | before & self.changed | before - after, differing | after & self.changed | after - before

    def explain(self, was: set[int], now: set[int]) -> None:
        """Look at all b-trees, by their roots, for what the pages that differ hold."""
        for root in was | now:
            self.leaves(root if root in was else None, root if root in now else None)

    @property
    def unexplained(self) -> set[int]:
        """The pages that differ and may hold parts of rows whose leaves do not, once all trees were asked for."""
        return self.changed - self._explained

    def rows(self, leaves: tuple[set[int], set[int]]) -> list[RowRange]:
        """Return the ranges of row numbers in leaves as they were and as they are, in order."""
        found = [pages.rows(number) for pages, own in zip((self.was, self.now), leaves, strict=True) for number in own]
        return list(_joined(sorted(one for one in found if one)))


@contextmanager
def difference(was: Path, now: Path) -> Iterator[Difference]:
    """Compare two snapshots page by page; raises ``NotUnderstood`` where that tells nothing."""
    with _opened(was, now) as pages:
        yield Difference(*pages)


@contextmanager
def _opened(*paths: Path) -> Iterator[list[Pages]]:
    with ExitStack() as stack:
        pages = [Pages(path) for path in paths]
        for one in pages:
            stack.callback(one.close)
        try:
            yield pages
        except (IndexError, error) as wrong:
            # A cell that begins or ends beyond its page: what is damaged is told by the integrity check.
            raise NotUnderstood("a page is damaged") from wrong


def _changed(was: Pages, now: Pages) -> set[int]:
    """Return the numbers of the pages that both have and that are not the same."""
    changed, size, first = set[int](), was.size, 1
    for one, other in zip(was.blocks(), now.blocks(), strict=False):
        length = min(len(one), len(other))
        if one[:length] != other[:length]:
            starts = range(0, length, size)
            changed.update(first + at // size for at in starts if one[at : at + size] != other[at : at + size])
        first += length // size
    return changed


def _number(page: bytes, cell: int) -> int:
    """Return the row number of a leaf's cell: it follows the length of the row."""
    return _varint(page, _varint(page, cell)[1])[0]


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, signed, and where it ends."""
    value = 0
    for offset in range(8):
        byte = page[at + offset]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + offset + 1
    value = value << 8 | page[at + 8]
    return (value - (1 << 64) if value >> 63 else value), at + 9


def _joined(ranges: Iterable[RowRange]) -> Iterator[RowRange]:
    """Join ranges, in order, that overlap or follow one another."""
    first, last = None, 0
    for start, end in ranges:
        if first is not None and start <= last + 1:
            last = max(last, end)
            continue
        if first is not None:
            yield first, last
        first, last = start, end
    if first is not None:
        yield first, last
