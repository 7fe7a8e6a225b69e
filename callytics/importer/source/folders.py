"""A folder stands for the SQLite files in it, by what they hold: names tell nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from callytics.exceptions import SourceError
from callytics.importer.source.copying import SIDECARS
from callytics.importer.source.snapshot import MAGIC


@dataclass(frozen=True)
class FolderContents:
    """The SQLite files of a folder, sorted by name, and what else is in it: (path, why it is left)."""

    folder: Path
    taken: list[Path] = field(default_factory=list)
    left: list[tuple[Path, str]] = field(default_factory=list)


def folder_contents(folder: Path) -> FolderContents:
    """Tell the SQLite files that lie in a folder, not below it; `SourceError` where there are none."""
    contents = FolderContents(folder)
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be read ({error.strerror}): check the rights of the folder") from error
    for path in paths:
        why = _why_left(path)
        if why:
            contents.left.append((path, why))
        else:
            contents.taken.append(path)
    if not contents.taken:
        raise SourceError(f"{folder} is a folder without an SQLite file: name one that holds some, or a file")
    return contents


def files_of(paths: Iterable[Path], note: list[FolderContents]) -> Iterator[Path]:
    """Yield the files that are named, and those of the folders that are; folders are added to `note`."""
    for path in paths:
        # Path.is_dir() fails on names that are too long: what is wrong with a file is said when it is read.
        if os.path.isdir(path):  # noqa: PTH112
            note.append(folder_contents(path))
            yield from note[-1].taken
        else:
            yield path


def _why_left(path: Path) -> str | None:
    """Say why a path in a folder is not taken; None where it is an SQLite file."""
    if path.is_dir():
        return "a folder"
    # A WAL without its database is somebody's file, and is looked at like any other.
    databases = [path.name.removesuffix(suffix) for suffix in SIDECARS if path.name.endswith(suffix)]
    if any(path.with_name(name).exists() for name in databases):
        return "read along with its database"
    if not path.is_file():
        return "no ordinary file"
    try:
        with path.open("rb") as file:
            return None if file.read(len(MAGIC)) == MAGIC else "not an SQLite database"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
