"""The order of an import's steps: whatever it is cut off in, the same command brings everything back."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from callytics.exceptions import CallyticsError, Interrupted, TargetError
from callytics.importer import Limits
from callytics.importer.commands import import_ as runs
from callytics.importer.plan import importing, workers
from callytics.settings import Settings
from tests.support.installation import Installation

pytestmark = pytest.mark.slow

ROWS = 60
SCRIPT = f"""
create table audio_files (id integer primary key autoincrement, file_path text not null unique, file_name text not null,
    processing_status text);
create table speaker_segments (id integer primary key autoincrement, audio_file_id integer not null,
    speaker_id text not null, start_time real not null, end_time real not null, created_at datetime);
create table transcriptions (id integer primary key autoincrement, audio_file_id integer not null,
    speaker_segment_id integer, text_content text not null, start_time real not null, end_time real not null,
    created_at datetime default current_timestamp);
create table notes (what text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS})
insert into audio_files select i, '/' || i, 'f' || i, 'completed' from n;
insert into speaker_segments select id * 3, id, 'S1', 0.5, 1.5, '2024-05-01 12:00:00' from audio_files;
insert into transcriptions select id * 7, audio_file_id, id, 'text ' || id, 0.5, 1.5,
    '2024-0' || (1 + id % 4) || '-01 12:00:00' from speaker_segments;
update transcriptions set start_time = 'x' where id % 5 = 0;
update transcriptions set created_at = '2024-05-01T12:00:00+09:00' where id % 11 = 0;
insert into notes select 'note ' || id from audio_files;
"""
DEFINITIONS = """
select indrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid) from pg_index
where indrelid::regclass::text ~ '^(audio_files|speaker_segments|transcriptions)$|_default$'
union all
select conrelid::regclass::text, convalidated, pg_get_constraintdef(oid) from pg_constraint
where conrelid::regclass::text ~ '^(audio_files|speaker_segments|transcriptions)$|_default$' and contype in ('f', 'p')
"""


class CutOff(CallyticsError):
    """What ends an import in a test."""


@dataclass
class Pieces(Installation):
    """An installation whose tables all count as large and have many pieces and chunks."""

    def __post_init__(self) -> None:
        self.write(SCRIPT)
        self.before = self.definitions()

    def definitions(self) -> set[tuple[Any, ...]]:
        """Return the indexes and keys of the tables, but for those of the months that come and go."""
        found = {
            (table, valid, definition.partition(" USING ")[2] or definition)
            for table, valid, definition in self.all(DEFINITIONS)
        }
        assert all(valid for _, valid, _ in found)
        return found

    def complete(self) -> None:
        """Require the import to have come to its end, with nothing missing."""
        assert self.problems() == []
        assert self.definitions() == self.before
        assert self.all("select count(*) from imports.definitions where restored_at is null") == [(0,)]
        assert self.all("select count(*) from transcriptions") == [(ROWS - ROWS // 5,)]


@pytest.fixture
def pieces(database: Settings, tmp_path: Path) -> Iterator[Pieces]:
    with Pieces.on(database, tmp_path, limits=Limits(chunk_rows=7, piece_rows=25, large_table_rows=10)) as pieces:
        yield pieces


def cut_off_at(monkeypatch: pytest.MonkeyPatch, place: str, calls: int) -> None:
    """End the import at a method's nth call."""
    class_name, _, name = place.rpartition(".")
    owner = getattr(importing, class_name, None) or getattr(workers, class_name)
    original, lock, made = getattr(owner, name), threading.Lock(), [0]

    def maybe(*arguments: Any, **options: Any) -> Any:
        with lock:
            made[0] += 1
            if made[0] == calls:
                raise CutOff("cut off")
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, maybe)


PLACES = [
    ("Loader._load_chunk", 9),
    ("Loader.finish", 3),
    ("Target.restore_index", 4),
    ("Target.restore_share", 7),
    ("Target.analyze", 2),
    ("Target.declare_foreign_key", 3),
    ("Target.validate_foreign_key", 2),
    ("Verifier.verify", 4),
    ("Verifier.conclude", 2),
]


@pytest.mark.parametrize(("place", "calls"), PLACES)
def test_cut_off_anywhere_it_is_resumed(
    place: str, calls: int, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row twice or missing, every index and key back, whatever the import was doing."""
    with monkeypatch.context() as patched:
        cut_off_at(patched, place, calls)
        with pytest.raises(CutOff):
            pieces.import_()
    assert pieces.all("select status from imports.runs") == [("running",)]
    outcome = pieces.import_()
    assert (outcome.exit_code, outcome.differences) == (3, [])
    pieces.complete()


@pytest.mark.quick
def test_primary_keys_are_deferred_and_recorded(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    """While rows come in there is no key to be kept up to date; what brings it back is written down."""
    with monkeypatch.context() as patched:
        cut_off_at(patched, "Loader._load_chunk", 1)
        with pytest.raises(CutOff):
            pieces.import_()
    query = "select count(*) from pg_constraint where contype = 'p' and conrelid::regclass::text ~ '^transcriptions'"
    assert pieces.all(query) == [(0,)]
    recorded = "select table_name from imports.definitions where definition like 'CREATE UNIQUE%' order by 1"
    assert ("transcriptions_2024_01",) in pieces.all(recorded)
    assert pieces.import_().exit_code == 3
    assert pieces.all(query) == pieces.all("select count(*) from pg_partition_tree('transcriptions') where isleaf")
    pieces.complete()


def test_a_resumed_import_can_divide_tables_differently(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded is known by its rows: another version may divide a table otherwise and go on."""
    with monkeypatch.context() as patched:
        cut_off_at(patched, "Loader._load_chunk", 12)
        with pytest.raises(CutOff):
            pieces.import_()
    pieces.options = replace(pieces.options, limits=Limits(chunk_rows=5, piece_rows=40, large_table_rows=10))
    assert pieces.import_().exit_code == 3
    pieces.complete()


def test_an_id_that_was_taken_meanwhile_is_named(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that another session wrote with one of the import's ids prevents the key's return until it is gone."""
    with monkeypatch.context() as patched:
        cut_off_at(patched, "Target.restore_index", 1)
        with pytest.raises(CutOff):
            pieces.import_()
    columns = "id, audio_file_id, speaker_id, start_time, end_time"
    pieces.connection.cursor().execute(f"insert into speaker_segments ({columns}) values (3, 1, 'mine', 0, 1)")
    with pytest.raises(TargetError, match="wrote rows to speaker_segments with ids of the import's own"):
        pieces.import_()
    pieces.connection.cursor().execute("delete from speaker_segments where speaker_id = 'mine'")
    assert pieces.import_().exit_code == 3
    pieces.complete()


def test_progress_ends_where_the_rows_end(pieces: Pieces) -> None:
    """Every table's load and verification come to all of its rows, no more; never backwards."""
    told: dict[str, list[tuple[int, int]]] = defaultdict(list)
    assert pieces.import_(lambda what, done, total: told[what].append((done, total))).exit_code == 3
    for table in ("audio_files", "speaker_segments", "transcriptions", "notes to imports.unmapped"):
        for verb in ("load", "verify"):
            steps = told[f"{verb} {table}"]
            assert steps[-1] == (ROWS, ROWS)
            assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    for what in ("analyze transcriptions", "index speaker_segments_pkey"):
        assert told[what] == [(0, 1), (1, 1)]


def test_interrupted_as_soon_as_it_has_begun(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come after the plan is committed and before anybody knows: the snapshot must stay."""
    begin = runs._begin

    def begin_and_interrupt(*arguments: Any) -> int:
        begin(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_begin", begin_and_interrupt)
        with pytest.raises(Interrupted):
            pieces.import_()
    assert pieces.import_().status == "rejects"
    pieces.complete()


def test_interrupted_before_it_has_begun(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no import leaves no snapshot."""

    def interrupt(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_begin", interrupt)
    with pytest.raises(Interrupted):
        pieces.import_()
    assert not pieces.options.snapshots.exists()
