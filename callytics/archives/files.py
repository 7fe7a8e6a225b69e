"""The files of an archived month: COPY's text, compressed by gzip, and a manifest that says what they hold.

``zcat TABLE.copy.gz`` and ``\\copy`` read them without Callytics.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from callytics import disk
from callytics.exceptions import ArchiveError
from callytics.postgres.text import sized

MANIFEST = "manifest.json"
FORMAT = 1
SCRATCH = ".archiving-"


@dataclass(frozen=True)
class Part:
    """One table's part of a month: its file, the columns in it, and by what the rows are known again."""

    table: str
    file: str
    sha256: str
    columns: Sequence[str]
    rows: int
    digest: str


def prepare(folder: Path, needed: int) -> None:
    """Make a folder for archives, and remove what killed commands left in it.

    Raises ``ArchiveError`` for one that others may write to, and where it has less room than ``needed`` bytes.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ArchiveError(f"the folder {folder} can't be used: {error.strerror}") from error
    if disk.is_anothers(found) or disk.others_may_replace(found):
        raise ArchiveError(f"others may write to the folder {folder}: name one of your own, mode 0700, with --into")
    disk.remove_abandoned(folder.glob(f"{SCRATCH}*"))
    if free < needed:
        raise ArchiveError(
            f"no room in {folder}: up to {sized(needed)} needed, {sized(free)} free; name another folder with --into"
        )


@contextmanager
def new_month(folder: Path, month: str) -> Iterator[tuple[Path, Path]]:
    """Yield a scratch folder, and the name that it gets by :func:`keep`; what was not kept is gone afterwards.

    A month may go a second time after it has come back, so its folder may be called 2024-05.2.
    """

    def make() -> Path:
        try:
            return Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))
        except OSError as error:
            raise ArchiveError(f"the folder {folder} can't be written to: {error.strerror}") from error

    with disk.scratch_in_use(make) as scratch:
        yield scratch, _free_name(folder, month)


@contextmanager
def writing(path: Path) -> Iterator[gzip.GzipFile]:
    """Lend a file, 0600, that compresses what is written to it and is on the disk afterwards."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            # Neither name nor time in it: the same rows give the same file.
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
                yield packed
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ArchiveError(f"{path} can't be written: {error.strerror}") from error


@contextmanager
def reading(path: Path) -> Iterator[gzip.GzipFile]:
    """Lend a file's text."""
    with gzip.open(path, "rb") as packed:
        yield packed


def keep(scratch: Path, folder: Path, month: str, parts: Sequence[Part], about: Mapping[str, Any]) -> None:
    """Write the manifest and give the scratch folder its name, both certain to survive a power cut."""
    manifest = {"format": FORMAT, "month": month, **about, "tables": [asdict(part) for part in parts]}
    path = scratch / MANIFEST
    try:
        path.write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        path.chmod(0o600)
        for written in (path, scratch):
            disk.sync(written)
        scratch.rename(folder)
        disk.sync(folder.parent)
    except OSError as error:
        raise ArchiveError(f"{path} can't be written: {error.strerror}") from error


def parts_in(folder: Path, month: str) -> list[Part]:
    """Return what the manifest in a folder says; raises ``ArchiveError`` where it is none of this month."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["month"] != month:
            raise ArchiveError(
                f"{folder} holds {manifest['month']} in format {manifest['format']}, not {month} in format {FORMAT}: "
                f"name the folder of {month} with --from"
            )
        return [Part(**part) for part in manifest["tables"]]
    except FileNotFoundError as error:
        raise ArchiveError(f"there is no archive of {month} in {folder}: name its folder with --from") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{folder / MANIFEST} can't be read: {type(error).__name__}") from error


def refuse_another(folder: Path, month: str, parts: Sequence[Part]) -> None:
    """Raise ``ArchiveError`` for a folder whose manifest is of another month, or of another time that this one went.

    Without a manifest that can be read the files may be these: each is known by its checksum.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        held, sums = manifest["month"], {part["sha256"] for part in manifest["tables"]}
    except (OSError, ValueError, KeyError, TypeError):
        return
    if held != month:
        raise ArchiveError(f"{folder} holds {held}, not {month}: name the folder of {month} with --from")
    if sums != {part.sha256 for part in parts}:
        raise ArchiveError(
            f"{folder} holds {month} as it was archived another time, with other rows: name the folder that 'callytics "
            "partitions list' shows with --from, or where it is now"
        )


def check(folder: Path, part: Part) -> Path:
    """Return the path of a part's file; raises ``ArchiveError`` where it is gone or not what was written."""
    path = folder / part.file
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArchiveError(
            f"{path} can't be read: {error.strerror}; put it back, or name its folder with --from"
        ) from error
    if found != part.sha256:
        raise ArchiveError(f"{path} was changed: put back the file with SHA-256 {part.sha256}")
    return path


def _free_name(folder: Path, month: str) -> Path:
    names = [folder / month, *(folder / f"{month}.{number}" for number in range(2, 1000))]
    return next(name for name in names if not os.path.lexists(name))
