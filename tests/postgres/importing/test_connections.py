"""Connections of the importer: whatever can't be prepared is closed at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from callytics.importer.plan import workers
from callytics.importer.plan.workers import Worker
from callytics.importer.source import reader
from callytics.importer.source.reader import Source
from callytics.schema.readiness import importing
from callytics.settings import Settings
from tests.support.samples import write_sample
from tests.support.servers import execute

# A backend whose client has gone may take a moment to notice.
OTHERS = """
    select pg_sleep(0.2), count(*) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""
FAILS = "select 1 / 0"


@pytest.mark.parametrize("name", ["connection", "arrow"])
@pytest.mark.parametrize("stage", ["session", "commits"])
def test_no_session_is_left_of_one_that_fails_at_its_start(
    database: Settings, monkeypatch: pytest.MonkeyPatch, name: str, stage: str
) -> None:
    if stage == "session":
        monkeypatch.setitem(importing.SQL._texts, "session", FAILS)
    else:
        monkeypatch.setattr(workers, "ASYNCHRONOUS", FAILS)
    # The error would hold it.
    with pytest.raises(Exception, match="division by zero") as held:
        getattr(Worker(database, lambda *_: None, lambda *_: None), name)
    assert execute(database, OTHERS)[0][1] == 0, held


@pytest.mark.parametrize("name", ["connect", "connect_plain", "connect_arrow"])
def test_a_snapshot_that_cannot_be_prepared_is_not_left_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "calls.sqlite"
    write_sample(path, generation=2, calls=3, seed=1)
    source = Source(path)
    assert all(map(source.takes_fast_path, source.tables))
    for table in source.tables:
        monkeypatch.setitem(vars(table), "preparation", ("selec",))
    if name == "connect_plain":
        monkeypatch.setattr(reader, "distrust", lambda connection: connection.execute("selec"))
    with pytest.raises(Exception, match="syntax error") as held:
        getattr(source, name)()
    assert path not in [link.resolve() for link in Path("/proc/self/fd").iterdir()], held
