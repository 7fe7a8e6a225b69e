"""Snapshots of several files: side by side, moments in order, and rows that are wide come in smaller chunks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from callytics.exceptions import SourceError
from callytics.importer import Options
from callytics.importer.options import Limits
from callytics.importer.source.reader import Source
from callytics.importer.source.snapshot import Snapshot, file_sha256
from callytics.importer.source.taking import take_all


def write(path: Path, statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)
    return path


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_every_file_gets_its_snapshot_in_the_order_of_the_command(tmp_path: Path, jobs: int) -> None:
    """However many are taken at once; each is told of when it begins and when it is done."""
    files = [write(tmp_path / f"{n}.sqlite", f"create table t (a); insert into t values ({n})") for n in range(5)]
    told: list[tuple[str, int, int]] = []
    options = Options(snapshots=tmp_path / "snapshots", jobs=jobs)
    taken: list[Snapshot] = []
    found = take_all(files, options, lambda *step: told.append(step), taken)
    assert [snapshot.source for snapshot in found] == files
    assert [snapshot.sha256 for snapshot in found] == [file_sha256(snapshot.path) for snapshot in found]
    assert {snapshot.path for snapshot in taken} == {snapshot.path for snapshot in found}
    names = [f"snapshot {file.name}" for file in files]
    assert [step for step in told if step[1] == 0] == [(name, 0, 1) for name in names]
    assert [step for step in told if step[1] == 1] == [(name, 1, 1) for name in names]


def test_what_is_wrong_with_a_file_leaves_the_others_to_be_removed(tmp_path: Path) -> None:
    """The error is that of the first file of the command, whichever failed first."""
    sound = [write(tmp_path / f"{n}.sqlite", f"create table t (a); insert into t values ({n})") for n in (1, 2)]
    damaged = write(tmp_path / "damaged.sqlite", "create table t (a); insert into t values (zeroblob(90000))")
    content = bytearray(damaged.read_bytes())
    content[4096:4200] = bytes(104)
    damaged.write_bytes(content)
    options, taken = Options(snapshots=tmp_path / "snapshots", jobs=4), list[Snapshot]()
    with pytest.raises(SourceError, match=r"damaged\.sqlite is corrupt"):
        take_all([sound[0], damaged, tmp_path / "missing.sqlite", sound[1]], options, lambda *_: None, taken)
    assert {snapshot.path for snapshot in taken} == set((tmp_path / "snapshots").iterdir())
    assert {snapshot.source for snapshot in taken} == set(sound)


def test_a_chunk_of_wide_rows_has_fewer_of_them(tmp_path: Path) -> None:
    """Memory goes by the table, where its rows are wider than those of the file."""
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {})"
    statements = "create table narrow (id integer primary key, a); create table wide (id integer primary key, a, b);"
    statements += f"{numbers.format(50_000)} insert into narrow select i, i from n;"
    statements += f"{numbers.format(200)} insert into wide select i, zeroblob(900), '가나다' from n;"
    source = Source(write(tmp_path / "calls.sqlite", statements), limits=Limits(chunk_rows=500, chunk_bytes=100_000))
    by_name = {table.name: source.chunk_rows(table) for table in source.tables}
    # 8 bytes each for three values, and those of the texts.
    assert by_name == {"narrow": 500, "wide": 100_000 // (24 + 900 + 9)}
