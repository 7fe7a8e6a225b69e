"""Snapshots of several files, taken side by side."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from callytics.importer.options import Options, Progress
from callytics.importer.source.snapshot import Snapshot, take_snapshot


def take_all(files: Sequence[Path], options: Options, progress: Progress, taken: list[Snapshot]) -> list[Snapshot]:
    """Return a snapshot of each file, each of a moment after that of the file before it.

    One file is copied while another one is checked. Raises what is wrong with the first of those that can't be taken;
    the snapshots of the others are in ``taken`` then, too.
    """

    def take(file: Path, settled: Event) -> Snapshot:
        try:
            taken.append(snapshot := take_snapshot(file, options.snapshots, options.notice, settled=settled.set))
        finally:
            settled.set()
        return snapshot

    with ThreadPoolExecutor(options.jobs) as workers:
        takes = []
        for file in files:
            progress(f"snapshot {file.name}", 0, 1)
            takes.append(workers.submit(take, file, settled := Event()))
            settled.wait()
        snapshots = []
        for file, result in zip(files, takes, strict=True):
            snapshots.append(result.result())
            progress(f"snapshot {file.name}", 1, 1)
        return snapshots
