"""Calls of every generation, imported, are read and found alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callytics.calls import MultiDatabaseManager
from callytics.calls.finding.paging import Page
from callytics.exceptions import InvalidAnalysis, InvalidSearch
from callytics.importer import Options, import_files
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from callytics.trial.sample import write_sample

CALLS = 12


@pytest.fixture(scope="module")
def imported(shared_database: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same number of calls of each generation, in one database."""
    folder = tmp_path_factory.mktemp("old")
    for generation in (1, 2, 3):
        path = folder / f"{generation}.sqlite"
        write_sample(path, generation=generation, calls=CALLS, seed=generation)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        assert import_files(shared_database, files, Options(folder / "snapshots"), lambda *_: None).exit_code == 0
    return shared_database


@pytest.fixture(scope="module")
def calls(imported: Settings) -> Iterator[MultiDatabaseManager]:
    with PostgreSQLManager(imported) as postgres:
        yield MultiDatabaseManager(postgres)


@contextmanager
def taken_back(calls: MultiDatabaseManager) -> Iterator[None]:
    """A transaction that is rolled back, for tests that change what the others read."""
    with suppress(TakenBack), calls.postgres.transaction():
        yield
        raise TakenBack


class TakenBack(Exception):
    """Ends a transaction that is to leave nothing."""


def ask(calls: MultiDatabaseManager, query: str, *values: Any) -> Any:
    return calls.postgres.execute_query(query, values, fetch="val")


def id_where(calls: MultiDatabaseManager, condition: str) -> int:
    return int(ask(calls, f"select min(id) from audio_files as a where {condition}"))


def of_generation(calls: MultiDatabaseManager) -> dict[int, int]:
    """A call of each generation: 1 knows no time, 3 has transcriptions."""
    return {
        1: id_where(calls, "created_at is null"),
        2: id_where(calls, "created_at is not null and upload_timestamp is null"),
        3: id_where(calls, "exists (select from transcriptions as t where t.audio_file_id = a.id)"),
    }


def all_pages(found: Any, **arguments: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page: Page = found(after=after, **arguments)
        rows += page.rows
        after = page.next
        if after is None:
            return rows


def test_transcript_of_every_generation(calls: MultiDatabaseManager) -> None:
    sources = {}
    for generation, call in of_generation(calls).items():
        said = calls.get_transcript(call)
        sources[generation] = {line["source"] for line in said}
        table, column = ("transcriptions", "text_content") if generation == 3 else ("utterances", "text")
        stored = ask(calls, f"select array_agg({column} order by id) from {table} where audio_file_id = %s", call)
        assert sorted(line["text"] for line in said) == sorted(stored)
        assert {line["speaker_role"] for line in said} == {"agent", "customer"}
        assert [line["start_time"] for line in said] == sorted(line["start_time"] for line in said)
    assert sources == {1: {"utterances"}, 2: {"utterances"}, 3: {"transcriptions"}}


def test_transcript_by_path(calls: MultiDatabaseManager) -> None:
    """Where only the quality database of generation 3 has what was said."""
    call = of_generation(calls)[3]
    with taken_back(calls):
        before = [line["text"] for line in calls.get_transcript(call)]
        calls.postgres.execute_query("delete from transcriptions where audio_file_id = %s", (call,), fetch="none")
        said = calls.get_transcript(call)
        assert [line["text"] for line in said] == before
        assert {line["source"] for line in said} == {"utterances"}
    assert calls.get_transcript(2**40) == []


def test_whole_analysis_counts_right(calls: MultiDatabaseManager) -> None:
    """No list is multiplied by another one."""
    call = of_generation(calls)[3]
    result = calls.get_complete_analysis_result(call)
    assert result is not None
    audio, quality = result["audio_analysis"], result["consultation_quality"]
    for part, table in [("speaker_segments", "speaker_segments"), ("transcriptions", "transcriptions")]:
        assert len(audio[part]) == ask(calls, f"select count(*) from {table} where audio_file_id = %s", call) > 1
    session = quality["session"]
    assert session == calls.get_session_by_audio_file_id(call)
    tables = {
        "metrics": "quality_metrics",
        "sentiment": "sentiment_analysis",
        "patterns": "communication_patterns",
        "suggestions": "improvement_suggestions",
    }
    for part, table in tables.items():
        assert len(quality[part]) == ask(calls, f"select count(*) from {table} where session_id = %s", session["id"])
    assert len(quality["metrics"]) > 1
    assert quality["communication_quality"]["audio_path"] == audio["audio_file"]["file_path"]
    assert quality["consultation_analysis"]["audio_path"] == audio["audio_file"]["file_path"]
    assert result["transcript"] == calls.get_transcript(call)
    assert calls.get_complete_analysis_result(2**40) is None


def test_whole_analysis_of_the_first_generations(calls: MultiDatabaseManager) -> None:
    of = of_generation(calls)
    first, second = calls.get_complete_analysis_result(of[1]), calls.get_complete_analysis_result(of[2])
    assert first is not None
    assert second is not None
    features = first["audio_analysis"]["features"]
    assert len(features["mfcc"]) == 13
    assert features["topic"] not in (None, "Unknown")
    assert first["consultation_quality"]["session"] is None
    assert second["consultation_quality"]["communication_quality"]["audio_file_id"] == of[2]
    assert second["consultation_quality"]["consultation_analysis"]["audio_file_id"] == of[2]


def test_times_have_a_zone(calls: MultiDatabaseManager) -> None:
    result = calls.get_complete_analysis_result(of_generation(calls)[3])
    assert result is not None
    times = [value for value in result["audio_analysis"]["audio_file"].values() if isinstance(value, datetime)]
    assert len(times) == 4
    assert all(time.utcoffset() == timedelta(0) for time in times)


def test_newest_recording_of_a_path(calls: MultiDatabaseManager) -> None:
    path = ask(calls, "select file_path from audio_files where id = %s", of_generation(calls)[2])
    with taken_back(calls):
        again = calls.save_audio_file(path, "again.wav", 1, 1.0, 8000, 1, "wav")
        newest = calls.get_audio_file_by_path(path)
        assert newest is not None
        assert (newest["id"], newest["format"]) == (again, "wav")
    assert calls.get_audio_file_by_path("/nowhere") is None
    assert calls.get_communication_quality(audio_path="/nowhere") is None
    third = of_generation(calls)[3]
    path = ask(calls, "select file_path from audio_files where id = %s", third)
    assert calls.get_communication_quality(audio_path=path) == calls.get_communication_quality(third) is not None


def test_statistics(calls: MultiDatabaseManager, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = calls.get_database_stats()
    assert stats["size_bytes"] > 8_000_000
    for table in ("audio_files", "transcriptions", "consultation_sessions", "agent_teams"):
        assert stats["tables"][table] == {"rows": ask(calls, f"select count(*) from {table}"), "exact": True}
    assert not [name for name in stats["tables"] if name.startswith("_") or "yoyo" in name or "default" in name]
    monkeypatch.setattr("callytics.calls.reading.COUNTED_ROWS", 100)
    big = calls.get_database_stats()["tables"]["transcriptions"]
    assert not big["exact"]
    assert big["rows"] == pytest.approx(stats["tables"]["transcriptions"]["rows"], rel=0.2)
    assert sum(row["total_count"] for row in calls.get_analysis_statistics()) == 2 * CALLS


def test_pages_hold_every_call_once(calls: MultiDatabaseManager) -> None:
    rows = all_pages(calls.find_calls, limit=5)
    assert len(rows) == len({row["id"] for row in rows}) == 3 * CALLS
    known = [row["created_at"] for row in rows if row["created_at"] is not None]
    assert known == sorted(known, reverse=True)
    assert [row["created_at"] for row in rows[len(known) :]] == [None] * CALLS


def test_pages_stand_still_while_calls_arrive(calls: MultiDatabaseManager) -> None:
    expected = [row["id"] for row in calls.find_calls(limit=500).rows]
    with taken_back(calls):
        first = calls.find_calls(limit=4)
        calls.save_audio_file("/new", "new.wav", 1, 1.0, 8000, 1, "wav")
        second = calls.find_calls(limit=4, after=first.next)
        assert [row["id"] for row in first.rows + second.rows] == expected[:8]


def test_filters(calls: MultiDatabaseManager) -> None:
    every = {row["id"]: row for row in calls.find_calls(limit=500).rows}
    third = every[of_generation(calls)[3]]
    at = third["created_at"]

    def found(**filters: Any) -> set[int]:
        return {row["id"] for row in calls.find_calls(limit=500, **filters).rows}

    def having(column: str, value: Any) -> set[int]:
        return {row["id"] for row in every.values() if row[column] == value}

    assert found(agent=third["agent_name"]) == having("agent_name", third["agent_name"])
    assert found(consultation_type=third["consultation_type"]) == having(
        "consultation_type", third["consultation_type"]
    )
    assert found(status="completed") == having("processing_status", "completed") != set()
    assert found(path=third["file_path"]) == having("file_path", third["file_path"])
    assert found(name=third["file_name"][2:].upper()) == having("file_name", third["file_name"])
    topic = every[of_generation(calls)[1]]["topic"]
    assert found(topic=topic) == having("topic", topic) != set()
    assert third["id"] in found(since=at, until=at + timedelta(microseconds=1))
    assert third["id"] not in found(until=at)
    assert third["id"] in found(since=at.astimezone(timezone(timedelta(hours=9))), status="completed")
    day = date(at.year, at.month, at.day)
    assert third["id"] in found(since=day, until=day + timedelta(days=1), agent=third["agent_name"])
    assert found(agent=third["agent_name"], consultation_type="no such type") == set()
    assert found(name="%") == found(name="'") == set()


def test_one_session_must_have_it_all(calls: MultiDatabaseManager) -> None:
    with taken_back(calls):
        call = calls.save_audio_file("/two", "two.wav", 1, 1.0, 8000, 1, "wav")
        calls.create_consultation_session(call, "2026-03-31", 1, "김하나", None, "sales")
        calls.create_consultation_session(call, "2026-03-31", 1, "이두리", None, "billing")
        assert len(calls.find_calls(agent="김하나").rows) == 1
        assert calls.find_calls(agent="김하나", consultation_type="billing").rows == []


def test_search_finds_words_with_particles(calls: MultiDatabaseManager) -> None:
    found = all_pages(calls.search_transcripts, query="요금", limit=7)
    texts = " ".join(row["text"] for row in found)
    assert "요금은" in texts or "요금이" in texts or "요금제" in texts
    assert {row["source"] for row in found} == {"transcriptions", "utterances"}
    assert len({(row["source"], row["id"]) for row in found}) == len(found)
    assert all(row["audio_file_id"] is not None for row in found)


def test_search_finds_what_transcripts_show(calls: MultiDatabaseManager) -> None:
    """Each sentence once, though generation 3 keeps it in both tables."""
    found = [(row["audio_file_id"], row["id"]) for row in all_pages(calls.search_transcripts, query="고객", limit=50)]
    shown = [
        (call["id"], line["id"])
        for call in calls.find_calls(limit=500).rows
        for line in calls.get_transcript(call["id"])
        if ask(calls, "select to_tsvector('simple', %s) @@ '고객:*'", line["text"])
    ]
    assert sorted(found) == sorted(shown)
    by_call = {call for call, _ in groupby(sorted(found), key=lambda pair: pair[0])}
    assert {row["id"] for row in calls.find_calls(search="고객", limit=500).rows} == by_call != set()


def test_search_by_path_only(calls: MultiDatabaseManager) -> None:
    call = of_generation(calls)[3]
    with taken_back(calls):
        before = {row["start_time"] for row in all_pages(calls.search_transcripts, query="고객", limit=500)}
        calls.postgres.execute_query("delete from transcriptions", fetch="none")
        after = all_pages(calls.search_transcripts, query="고객", limit=500)
        assert {row["start_time"] for row in after} == before
        assert call in {row["audio_file_id"] for row in after}
        assert call in {row["id"] for row in calls.find_calls(search="고객", limit=500).rows}


def test_all_words_in_either_case(calls: MultiDatabaseManager) -> None:
    with taken_back(calls):
        call = calls.save_audio_file("/words", "words.wav", 1, 1.0, 8000, 1, "wav")
        said = "오늘 Quokka 배송이 <b>늦습니다</b> it's c:\\temp"
        calls.save_transcriptions(call, [{"text": said, "start_time": 0, "end_time": 1}])
        for query in ("quokka", "QUOK 배송", "'quokka' & !배송", "c:\\temp", "배송:* | 늦습", "늦습\0배송"):
            assert [row["audio_file_id"] for row in calls.search_transcripts(query).rows] == [call], query
        assert calls.search_transcripts("quokka 없는말").rows == []
        [row] = calls.search_transcripts("quokka 배송", snippets=True).rows
        assert "«배송이»" in row["snippet"]
        assert calls.search_transcripts("quokka").rows[0]["snippet"] is None


@given(st.text(max_size=60) | st.text(alphabet="'\\\":*&|!()<->,\0\ud800 a배%{}$", max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_query(calls: MultiDatabaseManager, text: str) -> None:
    page = calls.search_transcripts(text, limit=1)
    assert isinstance(page.next, str | None)
    assert len(calls.find_calls(search=text, limit=1).rows) >= len(page.rows)


def test_no_word_finds_nothing(calls: MultiDatabaseManager) -> None:
    assert calls.search_transcripts(" !? ") == calls.find_calls(search=" & ") == Page([], None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit: must be a whole number between 1 and 500"),
        ({"limit": 501}, "limit: must be a whole number between 1 and 500"),
        ({"limit": True}, "limit: must be a whole number between 1 and 500"),
        ({"after": "x"}, "after: is not what 'next' of a page of this list held"),
        ({"after": "é"}, "after: is not what 'next' of a page of this list held"),
        ({"after": "WyJjYWxscyIsICJub3ciLCAxXQ=="}, "after: is not what 'next' of a page of this list held"),
        ({"since": datetime(2026, 1, 1)}, "since: must be a date, or a datetime with a time zone"),
        ({"until": "2026-01-01"}, "until: must be a date, or a datetime with a time zone"),
        ({"path": "a\0"}, "what is looked for must be text, without NUL and half characters"),
        ({"agent": 7}, "what is looked for must be text, without NUL and half characters"),
    ],
    ids=str,
)
def test_impossible_pages(calls: MultiDatabaseManager, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSearch) as refused:
        calls.find_calls(**arguments)
    assert str(refused.value) == message


def test_cursors_are_not_mixed(calls: MultiDatabaseManager) -> None:
    with pytest.raises(InvalidSearch):
        calls.search_transcripts("고객", after=calls.find_calls(limit=1).next)
    with pytest.raises(InvalidAnalysis, match=r"^audio_file_id: must be a whole number, not str$"):
        calls.get_transcript("1")  # type: ignore[arg-type]


def test_coroutines_return_the_same(imported: Settings, calls: MultiDatabaseManager) -> None:
    call = of_generation(calls)[3]
    path = ask(calls, "select file_path from audio_files where id = %s", call)

    async def ask_everything() -> list[Any]:
        async with PostgreSQLManager(imported) as postgres:
            again = MultiDatabaseManager(postgres)
            return await asyncio.gather(
                again.aget_transcript(call),
                again.aget_complete_analysis_result(call),
                again.aget_audio_file_by_path(path),
                again.aget_session_by_audio_file_id(call),
                again.aget_audio_features(call),
                again.aget_communication_quality(call),
                again.aget_analysis_statistics(),
                again.afind_calls(since=datetime(2020, 1, 1, tzinfo=UTC), limit=2),
                again.asearch_transcripts("고객", limit=2),
            )

    assert tuple(asyncio.run(ask_everything())) == (
        calls.get_transcript(call),
        calls.get_complete_analysis_result(call),
        calls.get_audio_file_by_path(path),
        calls.get_session_by_audio_file_id(call),
        calls.get_audio_features(call),
        calls.get_communication_quality(call),
        calls.get_analysis_statistics(),
        calls.find_calls(since=datetime(2020, 1, 1, tzinfo=UTC), limit=2),
        calls.search_transcripts("고객", limit=2),
    )


def test_every_method_has_its_coroutine() -> None:
    public = {
        name for name in dir(MultiDatabaseManager) if name[0] != "_" and callable(getattr(MultiDatabaseManager, name))
    }
    # It asks the database nothing.
    public.remove("seen_by")
    plain = {name for name in public if f"a{name}" in public}
    assert public == plain | {f"a{name}" for name in plain}
    assert len(plain) >= 25
