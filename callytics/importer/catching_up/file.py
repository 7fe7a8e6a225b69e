"""A file of a sync, as it was and as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from callytics.importer.records.entries import SourceRecord
from callytics.importer.source.excerpt import Excerpt
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot


@dataclass(frozen=True)
class File:
    """A file of a sync: its record, its new snapshot, its content as it was and is, and the rows of it that differ.

    Without ``excerpt`` all rows of all tables are compared.
    """

    record: SourceRecord
    snapshot: Snapshot
    was: Source
    now: Source
    excerpt: Excerpt | None = None
    # Returns when it is certain that the file was what its record says, and raises what is wrong with it otherwise.
    check_base: Callable[[], object] = field(default=lambda: None, compare=False)

    @property
    def changed(self) -> bool:
        """Return whether the file's content is another than at its import or latest sync."""
        return self.snapshot.sha256 != self.record.sha256

    def whole(self) -> File:
        """Return the file with all of its rows."""
        return replace(self, excerpt=None)

    def written(self) -> File:
        """Return the file after its changes were written, with all of its rows: as it was is as it is."""
        return replace(self, was=self.now, excerpt=None)
