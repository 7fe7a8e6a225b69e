"""Scratch files and folders: used by one command, swept up by another once nobody uses them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callytics import disk


def new_file(folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        return Path(file.name)


def new_folder(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


KINDS = [new_file, new_folder]


@pytest.mark.parametrize("new", KINDS)
def test_scratch_in_use_is_left_by_who_sweeps_up(new: Callable[[Path], Path], tmp_path: Path) -> None:
    """And gone afterwards, with what was put beside it."""
    with disk.scratch_in_use(lambda: new(tmp_path)) as scratch:
        disk.remove_abandoned([scratch])
        assert list(tmp_path.iterdir()) == [scratch]
        scratch.with_name(f"{scratch.name}-wal").touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("new", KINDS)
def test_scratch_that_was_swept_up_before_its_lock_is_made_anew(new: Callable[[Path], Path], tmp_path: Path) -> None:
    """Another command may come between the two."""
    sweeps: Iterator[bool] = iter([True, True, False])
    made = []

    def make() -> Path:
        made.append(new(tmp_path))
        if next(sweeps):
            disk.remove_abandoned(made[-1:])
        return made[-1]

    with disk.scratch_in_use(make) as scratch:
        assert list(tmp_path.iterdir()) == [scratch] == made[2:]
