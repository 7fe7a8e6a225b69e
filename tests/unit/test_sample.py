"""Samples: realistic, valid, the same for the same seed, and never half written."""

import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from callytics.exceptions import CallyticsError
from callytics.trial import sample
from callytics.trial.sample import SAMPLE_PASSWORD, write_sample
from callytics.trial.sample.scripts import PHASES
from tests.support.places import SHARED

REAL_FILES = {
    "generation_1": SHARED / "callytics-1" / "Callytics.sqlite",
    "generation_2": SHARED / "callytics-2" / "Callytics_new.sqlite",
    "generation_3_audio": SHARED / "callytics-3" / "audio_analysis.sqlite",
    "generation_3_quality": SHARED / "callytics-3" / "consultation_quality.sqlite",
}
MASTER = "select type, name, tbl_name, sql from sqlite_master where name not like 'sqlite_%' order by name"
TABLES = "select name from sqlite_master where type = 'table' and name <> 'sqlite_sequence'"


def files_of(path: Path) -> list[Path]:
    """The file, or the files of the folder."""
    return sorted(path.iterdir()) if path.is_dir() else [path]


def digests(path: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files_of(path)}


def query(file: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def sources(generation: int, path: Path) -> dict[str, Path]:
    """The written files by the name of their schema."""
    return {source: path / name if name else path for name, source in sample.FILES[generation].items()}


@pytest.fixture(
    scope="module",
    params=[1, *(pytest.param(one, marks=pytest.mark.slow) for one in (2, 3))],
    ids=lambda generation: f"generation {generation}",
)
def generation(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def written(generation: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Three hundred calls, and what write_sample said about them."""
    path = tmp_path_factory.mktemp("sample") / "out"
    return path, write_sample(path, generation=generation, calls=300, seed=1)


@pytest.fixture(scope="module")
def korean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generation 3 quality database."""
    folder = tmp_path_factory.mktemp("korean") / "out"
    write_sample(folder, generation=3, calls=300, seed=2)
    return folder / "consultation_quality.sqlite"


def test_same_seed_same_bytes_whatever_the_environment(generation: int, written: tuple, tmp_path: Path) -> None:
    """Hash seed, time zone and locale do not matter."""
    code = (
        "from pathlib import Path; from callytics.trial.sample import write_sample; "
        f"write_sample(Path({str(tmp_path / 'out')!r}), generation={generation}, calls=300, seed=1)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345", "TZ": "America/New_York", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert digests(tmp_path / "out") == digests(written[0])


def test_other_seed_other_bytes(generation: int, written: tuple, tmp_path: Path) -> None:
    write_sample(tmp_path / "out", generation=generation, calls=300, seed=-1)
    assert not set(digests(tmp_path / "out").values()) & set(digests(written[0]).values())


def test_files_are_sound(written: tuple) -> None:
    """Integrity (with CHECK, NOT NULL and UNIQUE) and every reference, of every file."""
    for file in files_of(written[0]):
        assert query(file, "pragma integrity_check") == [("ok",)]
        assert query(file, "pragma foreign_key_check") == []


def test_nothing_of_the_haste_stays(written: tuple) -> None:
    for file in files_of(written[0]):
        assert query(file, "pragma journal_mode") == [("delete",)]


def test_every_table_is_filled_and_counted(generation: int, written: tuple) -> None:
    path, rows = written
    counted = {
        table: query(file, f"select count(*) from {table}")[0][0]
        for file in files_of(path)
        for (table,) in query(file, TABLES)
    }
    assert counted == rows
    assert all(rows.values()), [table for table, count in rows.items() if not count]
    assert len(rows) == {1: 3, 2: 8, 3: 37}[generation]


def test_some_next_ids_run_ahead(written: tuple) -> None:
    """As where rows were deleted, or their insertion ignored."""
    for file in files_of(written[0]):
        ahead = [
            table
            for table, next_id in query(file, "select name, seq from sqlite_sequence")
            if next_id > query(file, f"select max(rowid) from {table}")[0][0]
        ]
        assert ahead


@pytest.mark.parametrize("source", REAL_FILES)
def test_schema_is_what_the_application_created(source: str, tmp_path: Path) -> None:
    """Tables, indexes, views and triggers are word for word those of the real files."""
    if not REAL_FILES[source].exists():
        pytest.skip("the real files are not beside this checkout")
    generation = int(re.search(r"\d", source)[0])
    write_sample(tmp_path / "out", generation=generation, calls=1, seed=1)
    assert query(sources(generation, tmp_path / "out")[source], MASTER) == query(REAL_FILES[source], MASTER)


def test_codes_are_those_of_the_real_file(tmp_path: Path) -> None:
    if not REAL_FILES["generation_2"].exists():
        pytest.skip("the real files are not beside this checkout")
    write_sample(tmp_path / "out", generation=2, calls=0, seed=1)
    for table in ("business_type_codes", "classification_type_codes", "detail_classification_codes"):
        names = f"select id, code, name, description, is_active from {table} order by id"
        next_id = f"select seq from sqlite_sequence where name = '{table}'"
        for sql in (names, next_id):
            assert query(tmp_path / "out", sql) == query(REAL_FILES["generation_2"], sql)


def test_no_call_at_all(generation: int, tmp_path: Path) -> None:
    """A valid file with people and codes, but nothing of any call."""
    rows = write_sample(tmp_path / "out", generation=generation, calls=0, seed=1)
    staff = {name for name in rows if name.startswith("agent_")} - {
        "agent_performance",
        "agent_performance_history",
        "agent_activity_logs",
        "agent_behavior_analysis",
    }
    assert {name for name, count in rows.items() if count} == staff | {
        name for name in rows if name == "Topic" or name.endswith("_codes")
    }
    test_files_are_sound((tmp_path / "out", rows))


def test_one_call(generation: int, tmp_path: Path) -> None:
    rows = write_sample(tmp_path / "out", generation=generation, calls=1, seed=1)
    assert next(rows[name] for name in ("File", "audio_properties", "audio_files") if name in rows) == 1
    assert 15 <= next(rows[name] for name in ("Utterance", "utterances") if name in rows) <= 40
    test_files_are_sound((tmp_path / "out", rows))


def test_progress_adds_up(generation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "BATCH_CALLS", 7)
    told: list[int] = []
    write_sample(tmp_path / "out", generation=generation, calls=20, seed=1, progress=told.append)
    assert told == [7, 7, 6]


def test_batches_leave_no_trace(generation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows depend on the call alone, not on which batch it was in."""
    write_sample(tmp_path / "one", generation=generation, calls=60, seed=3)
    monkeypatch.setattr(sample, "BATCH_CALLS", 7)
    write_sample(tmp_path / "many", generation=generation, calls=60, seed=3)
    for one, many in zip(files_of(tmp_path / "one"), files_of(tmp_path / "many"), strict=True):
        for (table,) in query(one, TABLES):
            columns = [name for _, name, *_ in query(one, f"pragma table_info({table})") if name != "id"]
            rows = f"select {', '.join(columns)} from {table} order by {', '.join(columns)}"
            assert query(one, rows) == query(many, rows), table


# What is refused


def test_refuses_what_exists(generation: int, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(CallyticsError, match="exists already: remove it or choose another name"):
        write_sample(tmp_path / "out", generation=generation, calls=1, seed=1)
    assert (tmp_path / "out").read_text() == "mine"


def test_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(CallyticsError, match="is not empty: name an empty folder"):
        write_sample(tmp_path, generation=3, calls=1, seed=1)


def test_takes_an_empty_folder(tmp_path: Path) -> None:
    write_sample(tmp_path, generation=3, calls=1, seed=1)
    assert [file.name for file in files_of(tmp_path)] == ["audio_analysis.sqlite", "consultation_quality.sqlite"]


def test_refuses_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CallyticsError, match="exists already"):
        write_sample(tmp_path / "out", generation=2, calls=1, seed=1)


def test_refuses_a_folder_that_is_missing(generation: int, tmp_path: Path) -> None:
    with pytest.raises(CallyticsError, match="is not a folder: create it first"):
        write_sample(tmp_path / "missing" / "out", generation=generation, calls=1, seed=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_says_so_where_it_may_not_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CallyticsError, match=r"can't be written: .*Permission denied"):
        write_sample(tmp_path / "out", generation=1, calls=1, seed=1)


@pytest.mark.parametrize(("generation", "calls"), [(0, 1), (4, 1), (1, -1)])
def test_refuses_impossible_numbers(generation: int, calls: int, tmp_path: Path) -> None:
    with pytest.raises(CallyticsError, match=r"choose 1, 2 or 3|not negative"):
        write_sample(tmp_path / "out", generation=generation, calls=calls, seed=1)
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_leaves_nothing(generation: int, tmp_path: Path) -> None:
    def interrupt(_calls: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "out", generation=generation, calls=10, seed=1, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_no_half_file(generation: int, tmp_path: Path) -> None:
    """The name appears with the finished file or not at all, and the next run succeeds."""
    code = (
        "from pathlib import Path; from callytics.trial import sample; sample.BATCH_CALLS = 100; "
        f"sample.write_sample(Path({str(tmp_path / 'out')!r}), generation={generation}, calls=10**7, seed=1)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as run:
        deadline = time.monotonic() + 30
        while not any(file.stat().st_size > 10**6 for file in tmp_path.rglob("*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    write_sample(tmp_path / "out", generation=generation, calls=1, seed=1)


# What makes it realistic


def calls_of_turns(file: Path, sql: str) -> Iterator[list[tuple]]:
    """Group rows by their first column."""
    calls: dict[object, list[tuple]] = {}
    for row in query(file, sql):
        calls.setdefault(row[0], []).append(row[1:])
    yield from calls.values()


TURNS = {
    1: "select FileID, Speaker, StartTime, EndTime, Content from Utterance order by ID",
    2: "select audio_properties_id, speaker, start_time, end_time, text from utterances order by id",
    3: "select audio_path, speaker, start_time, end_time, text from utterances order by id",
}


def test_conversations_are_plausible(generation: int, written: tuple) -> None:
    """Speakers take turns, time goes on, sentences last as long as they take to say, nothing is left to fill in."""
    file = files_of(written[0])[-1]
    alternating = total = 0
    for turns in calls_of_turns(file, TURNS[generation]):
        assert 15 <= len(turns) <= 40
        starts = [start for _, start, _, _ in turns]
        assert starts == sorted(starts)
        for _, start, end, text in turns:
            assert 0.2 < end - start < 20
            assert text
            assert "{" not in text
        speakers = [speaker for speaker, *_ in turns]
        total += len(speakers) - 1
        alternating += sum(a != b for a, b in pairwise(speakers))
    assert alternating / total > 0.8


def test_calls_come_in_business_hours_of_several_months(korean: Path) -> None:
    audio = korean.with_name("audio_analysis.sqlite")
    hours = {int(hour) for (hour,) in query(audio, "select substr(file_name, 10, 2) from audio_files")}
    days = query(korean, "select distinct session_date, strftime('%w', session_date) from consultation_sessions")
    assert hours == set(range(9, 18))
    assert {day for _, day in days} == set("12345")
    assert len({day[:7] for day, _ in days}) >= 5


def test_json_is_json(korean: Path) -> None:
    """In every text that begins like an object or a list."""
    checked = 0
    for (table,) in query(korean, TABLES):
        for _, column, *_ in query(korean, f"pragma table_info({table})"):
            for (text,) in query(korean, f"select {column} from {table} where substr({column}, 1, 1) in ('{{', '[')"):
                json.loads(text)
                checked += 1
    assert checked > 1000


def test_times_are_written_in_both_ways(korean: Path) -> None:
    """SQLite's own way, and Python's with T and microseconds."""
    created, analysed = query(korean, "select created_at, analysis_started_at from consultation_sessions limit 1")[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", created)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", analysed)


def test_agents_can_log_in_with_the_sample_password(korean: Path) -> None:
    for (stored,) in query(korean, "select distinct password_hash from agent_accounts"):
        salt, digest = stored.split("$")
        expected = hashlib.pbkdf2_hmac("sha256", SAMPLE_PASSWORD.encode(), salt.encode(), 100_000)
        assert digest == expected.hex()


def test_sessions_refer_to_the_other_file(korean: Path) -> None:
    audio = korean.with_name("audio_analysis.sqlite")
    files = {row[0] for row in query(audio, "select id from audio_files where processing_status = 'completed'")}
    assert {row[0] for row in query(korean, "select audio_file_id from consultation_sessions")} == files
    paths = {row[0] for row in query(audio, "select file_path from audio_files where processing_status = 'completed'")}
    for table in ("utterances", "consultation_analysis", "communication_quality"):
        assert {row[0] for row in query(korean, f"select distinct audio_path from {table}")} == paths


def test_phases_follow_one_another(korean: Path) -> None:
    for phases in calls_of_turns(korean, "select session_id, phase_name from consultation_phase_analysis order by id"):
        names = [name for (name,) in phases]
        assert names == [name for name in PHASES if name in names]
        assert {"greeting", "solution_proposal", "closing"} <= set(names)


def test_teams_are_as_large_as_their_triggers_would_say(korean: Path) -> None:
    sizes = query(korean, "select id, team_size from agent_teams order by id")
    counted = "select team_id, count(*) from agent_team_memberships where is_active = 1 group by 1 order by 1"
    assert sizes == query(korean, counted)
    assert all(size > 1 for _, size in sizes)


def test_a_call_can_be_analysed_twice(tmp_path: Path) -> None:
    """Generation 2 keeps both, with the same path."""
    write_sample(tmp_path / "out", generation=2, calls=300, seed=1)
    twice = "select count(*), count(distinct file_path) from audio_properties"
    calls, paths = query(tmp_path / "out", twice)[0]
    assert 0 < calls - paths < 30
