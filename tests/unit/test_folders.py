"""A folder stands for the SQLite files in it, whatever they are called."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from callytics.cli.terminal.outcomes import folder_line
from callytics.exceptions import SourceError
from callytics.importer import FolderContents, files_of


def database(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as sqlite:
        sqlite.execute("create table t (a)")
        sqlite.commit()
    return path


def test_files_are_told_by_what_they_hold(tmp_path: Path) -> None:
    """Sorted by name, not from folders below; what is left is named with the reason."""
    second, first = database(tmp_path / "b.bin"), database(tmp_path / "a")
    (tmp_path / "a-journal").write_bytes(b"")
    (tmp_path / "c.sqlite").write_text("not a database")
    (tmp_path / "d").mkdir()
    database(tmp_path / "d" / "e.sqlite")
    alone = database(tmp_path / "d" / "f.sqlite")
    noted: list[FolderContents] = []
    assert list(files_of([tmp_path, alone], noted)) == [first, second, alone]
    (contents,) = noted
    assert folder_line(contents) == (
        f"{tmp_path}: takes a, b.bin; leaves a-journal (read along with its database); "
        "c.sqlite (not an SQLite database); d (a folder)"
    )


def test_a_folder_without_any_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SourceError, match="is a folder without an SQLite file"):
        list(files_of([tmp_path], []))
