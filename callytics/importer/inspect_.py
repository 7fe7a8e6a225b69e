"""Inspect: what is in a file, and what an import would do with it."""

from __future__ import annotations

from pathlib import Path

from callytics.importer.options import Options, Progress
from callytics.importer.profile import Profile, profile_file
from callytics.importer.session import borrowed_snapshot
from callytics.importer.source.reader import Source


def inspect_file(file: Path, options: Options, progress: Progress) -> Profile:
    """Return what is in a file and what an import would do with each value, by the import's own conversion.

    Needs no server, and leaves nothing behind: the snapshot that it reads is removed. Raises ``SourceError`` if the
    file is not an intact SQLite database or holds no tables.
    """
    with borrowed_snapshot(file, options) as snapshot:
        return profile_file(Source(snapshot.path, str(file), options.limits), snapshot, options.zone, progress)
