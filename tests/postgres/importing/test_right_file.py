"""The right file, whole and once: another program's file, half an installation and a renamed copy are noticed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from callytics.exceptions import SourceError
from callytics.importer import inspect_file, zone_named
from callytics.importer.source.overlap import overlap
from callytics.importer.source.reader import Source
from callytics.settings import Settings
from tests.support.installation import Installation, quiet, write
from tests.support.samples import write_sample

pytestmark = pytest.mark.slow

FOREIGN = (
    "create table songs (id integer primary key, title); create table albums (id); insert into songs values (1, 'a')"
)
WORKED_ON = """
update audio_files set processing_status = 'failed', updated_at = '2026-01-01 00:00:00' where id % 3 = 0;
delete from processing_logs where id < 5;
insert into audio_files (id, file_path, file_name, processing_status)
values (9999, 'later.wav', 'later.wav', 'pending');
"""


@pytest.fixture
def installation(database: Settings, tmp_path: Path) -> Iterator[Installation]:
    with Installation.on(database, tmp_path, "audio_analysis.sqlite", "consultation_quality.sqlite") as own:
        yield own


def sample(installation: Installation, *, seed: int = 1, name: str = "sample") -> tuple[Path, Path]:
    """Write both databases of an installation of generation 3 into a folder."""
    folder = installation.folder / name
    write_sample(folder, generation=3, calls=6, seed=seed)
    return folder / "audio_analysis.sqlite", folder / "consultation_quality.sqlite"


def counts(installation: Installation) -> dict[str, int]:
    return {name: installation.one(f"select count(*) from {name}") for name in ("audio_files", "consultation_sessions")}


@pytest.mark.quick
def test_another_program_s_file_is_refused(installation: Installation) -> None:
    songs = installation.write(FOREIGN, "songs.sqlite")
    said = installation.said("import", songs, code=1)
    assert said.endswith(
        "songs.sqlite holds no table of Callytics, but albums, songs: is it the right file? With --unmapped its rows "
        "are kept as they are\n"
    )
    assert "is it the right file?" in installation.said("import", "--dry-run", songs, code=1)
    assert "No table of Callytics: is it the right file?" in installation.said("inspect", songs)
    assert installation.one("select count(*) from imports.runs") == 0
    assert list(installation.options.snapshots.glob("*")) == []
    assert "2 tables" not in installation.said("import", "--unmapped", songs)
    assert installation.one("select count(*) from imports.unmapped") == 1


def test_many_tables_are_not_all_named(installation: Installation) -> None:
    path = installation.write("".join(f"create table t{n} (id);" for n in range(9)), "many.sqlite")
    with pytest.raises(SourceError, match="but t0, t1, t2, t3, t4 and 4 more: is it"):
        installation.take(path)


@pytest.mark.parametrize(("half", "other"), [(0, "consultation_quality"), (1, "audio_analysis")])
def test_half_an_installation_is_noticed(installation: Installation, half: int, other: str) -> None:
    files = sample(installation)
    assert f"The other database of the installation, {other}, is not among the files" in installation.said(
        "inspect", files[half]
    )
    assert "other database" not in installation.said("inspect", *files)
    assert f"the other database of the installation, {other}, is not imported yet" in installation.said(
        "import", files[half]
    )
    assert "other database" not in installation.said("import", files[1 - half])


def test_rows_find_the_parents_that_come_later(installation: Installation) -> None:
    """Each order of the two databases ends with the same valid keys, and no report of rows without a parent."""
    audio, quality = sample(installation)
    assert "rows without a parent" in installation.said("import", quality)
    assert "rows without a parent" in installation.said("verify", quality)
    assert "rows without a parent" not in installation.said("import", audio)
    assert installation.one("select count(*) from pg_constraint where not convalidated") == 0
    assert "rows without a parent" not in installation.said("verify", quality)
    assert "without a parent" not in installation.run("report").output
    assert "without a parent" not in installation.said("undo", 1, "--dry-run", "--yes")


def test_a_later_copy_is_refused_and_synced(installation: Installation) -> None:
    audio, quality = sample(installation)
    installation.take(audio, quality)
    before = counts(installation)
    copy = Path(shutil.copy(audio, installation.folder / "backup-2026-11-25.sqlite"))
    write(copy, WORKED_ON)
    said = installation.said("import", "--yes", copy, code=1)
    assert f"{copy} holds the calls of import 1 ({audio})" in said
    assert f"'callytics sync --of 1 {copy}'" in said
    assert "--again" in said
    assert "holds the calls of import 1" in installation.said("import", "--dry-run", copy, code=1)
    assert counts(installation) == before
    assert installation.one("select count(*) from imports.runs") == 1
    installation.said("sync", "--of", 1, copy)
    assert counts(installation) == before | {"audio_files": before["audio_files"] + 1}
    assert installation.one("select processing_status from audio_files where id = 3") == "failed"
    installation.said("verify", copy)


@pytest.mark.parametrize(
    "change",
    [
        "alter table audio_files rename to calls; alter table calls rename to AUDIO_Files",
        "alter table transcriptions rename column text_content to words; "
        "alter table transcriptions rename column words to TEXT_content",
        "create index names on audio_files (file_name collate korean)",
    ],
)
def test_a_copy_is_compared_whatever_its_names_and_indexes_look_like(change: str, tmp_path: Path) -> None:
    """Names are the same to SQLite in either case, and an index may need what only its application has."""
    write_sample(tmp_path / "sample", generation=3, calls=6, seed=1)
    audio = tmp_path / "sample" / "audio_analysis.sqlite"
    copy = Path(shutil.copy(audio, tmp_path / "copy.sqlite"))
    with closing(sqlite3.connect(copy)) as sqlite:
        sqlite.create_collation("korean", lambda one, other: (one > other) - (one < other))
        sqlite.executescript(change)
        sqlite.execute("update transcriptions set text_content = 'another'")
        sqlite.commit()
    found = overlap(Source(copy), Source(audio))
    same = overlap(Source(audio), Source(audio))
    with closing(sqlite3.connect(audio)) as sqlite:
        (changed,) = sqlite.execute("select min(201, count(*)) from transcriptions").fetchone()
    assert (found.compared, found.equal) == (same.compared, same.compared - changed)


def test_a_copy_can_be_meant(installation: Installation) -> None:
    audio, quality = sample(installation)
    installation.take(audio, quality)
    before = counts(installation)
    copy = Path(shutil.copy(audio, installation.folder / "copy.sqlite"))
    write(copy, WORKED_ON)
    installation.said("import", "--yes", "--again", copy)
    assert counts(installation)["audio_files"] == 2 * before["audio_files"] + 1


def test_two_copies_in_one_command(installation: Installation) -> None:
    audio, _ = sample(installation)
    copy = Path(shutil.copy(audio, installation.folder / "copy.sqlite"))
    write(copy, WORKED_ON)
    with pytest.raises(SourceError, match=r"copy\.sqlite and .*audio_analysis\.sqlite hold the same calls"):
        installation.take(audio, copy)
    assert installation.one("select count(*) from imports.runs") == 0


def test_another_branch_is_no_copy(installation: Installation) -> None:
    """The same ids with other calls; its databases are refused as copies of the first branch's."""
    installation.take(*sample(installation))
    other = sample(installation, seed=2, name="branch")
    before = counts(installation)
    said = installation.said("sync", "--of", 1, other[0], code=1)
    assert f"{other[0]} is no copy of a file of import 1" in said
    installation.said("import", "--yes", *other, code=3)
    assert counts(installation)["audio_files"] == 2 * before["audio_files"]


def test_sync_of_an_import_that_is_not_there(installation: Installation) -> None:
    audio, _ = sample(installation)
    assert "import 7 holds no files" in installation.said("sync", "--of", 7, audio, code=1)


def test_a_copy_whose_first_snapshot_is_gone_is_not_judged(installation: Installation) -> None:
    audio, quality = sample(installation)
    installation.take(audio, quality)
    for snapshot in installation.options.snapshots.glob("*.sqlite"):
        snapshot.unlink()
    copy = Path(shutil.copy(audio, installation.folder / "copy.sqlite"))
    write(copy, WORKED_ON)
    said = installation.said("import", "--yes", copy)
    assert "of import 1 is gone or was changed: whether" in said


def test_another_zone_is_no_repetition(installation: Installation) -> None:
    audio, quality = sample(installation)
    seoul = replace(installation, options=replace(installation.options, zone=zone_named("Asia/Seoul")))
    seoul.take(audio, quality)
    said = installation.said("import", audio, quality, code=1)
    assert (
        f"{audio} was imported with --timezone Asia/Seoul (import 1) and is not imported again with --timezone UTC: "
        in said
    )
    assert "already imported" in installation.said("import", "--timezone", "Asia/Seoul", audio, quality)


def test_inspect_tells_the_databases(installation: Installation) -> None:
    audio, quality = sample(installation)
    profiles = [inspect_file(path, installation.options, quiet) for path in (audio, quality)]
    assert [profile.databases for profile in profiles] == [["audio_analysis"], ["consultation_quality"]]
    assert [profile.other_databases for profile in profiles] == [["consultation_quality"], ["audio_analysis"]]
