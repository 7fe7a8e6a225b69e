"""A new table of the source is mapped by adding one file, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from callytics.importer import inspect_file
from callytics.importer.source import mapping
from tests.support.installation import Installation, quiet

VOICEMAILS = """
create table voicemails (mail_no integer primary key, path text, title text, seconds real, left_at datetime);
insert into voicemails values (3, '/mail/김민지.wav', '김민지', 4.5, '2025-03-01 09:30:00');
insert into voicemails values (7, null, 'lee', 3, '2025-03-02T10:00:00+09:00');
"""
MAPPING = """\
-- Generation 4: what callers left when nobody answered.
-- target: audio_files
-- shape: voicemails (mail_no, path)
select
    source_rowid,
    mail_no as id,
    path as file_path,
    title as file_name,
    seconds as duration_seconds,
    left_at as created_at
from voicemails
"""


@pytest.fixture
def mappings_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the mappings, which the importer reads instead of its own."""
    folder = tmp_path / "mappings"
    shutil.copytree(mapping.MAPPINGS, folder)
    monkeypatch.setattr(mapping, "MAPPINGS", folder)
    return folder


def test_a_table_is_mapped_by_adding_one_file(installation: Installation, mappings_folder: Path) -> None:
    """Inspect, import and verify (`take` requires that it finds every value) read the same new file."""
    file = installation.write(VOICEMAILS)
    (mappings_folder / "generation_4").mkdir()
    (mappings_folder / "generation_4" / "audio_files.sql").write_text(MAPPING, encoding="utf-8")

    profile = inspect_file(file, installation.options, quiet)
    assert [(table.targets, table.unmapped_columns) for table in profile.tables] == [(("audio_files",), ())]
    outcome = installation.take(file)
    assert [(table.target_table, table.loaded, table.rejected) for table in outcome.tables] == [("audio_files", 2, 0)]
    assert installation.all("select jsonb_strip_nulls(to_jsonb(a)) from audio_files as a order by id") == [
        (
            {
                "id": 3,
                "file_path": "/mail/김민지.wav",
                "file_name": "김민지",
                "duration_seconds": 4.5,
                "created_at": "2025-03-01T09:30:00+00:00",
            },
        ),
        (
            {
                "id": 7,
                "file_name": "lee",
                "duration_seconds": 3.0,
                "created_at": "2025-03-02T01:00:00+00:00",
            },
        ),
    ]
    assert installation.unmapped() == []
