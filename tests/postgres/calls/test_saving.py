"""One call's result is stored whole or not at all, and what can't be stored is named."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from callytics.calls import MultiDatabaseManager
from callytics.exceptions import AnalysisNotFound, CallyticsError, InvalidAnalysis
from callytics.postgres import PostgreSQLManager
from callytics.settings import Settings
from tests.support.models import tables

SECRET = "제 주민번호는 900101-1234567 입니다"
FILE = {
    "file_path": "/calls/a.wav",
    "file_name": "a.wav",
    "file_size": 1,
    "duration_seconds": 6.5,
    "sample_rate": 8000,
    "channels": 1,
    "format_type": "wav",
}


class TakenBack(Exception):
    """Ends a transaction that is to leave nothing."""


@pytest.fixture(scope="module")
def calls(shared_database: Settings) -> Iterator[MultiDatabaseManager]:
    with PostgreSQLManager(shared_database) as postgres:
        yield MultiDatabaseManager(postgres)


@pytest.fixture
def call(calls: MultiDatabaseManager) -> int:
    return calls.save_audio_file(**FILE)


@pytest.fixture
def session(calls: MultiDatabaseManager, call: int) -> int:
    return calls.create_consultation_session(call, date(2026, 3, 31), 2.5)


def audio(**parts: Any) -> dict[str, Any]:
    return {
        "audio_file": FILE,
        "segments": [
            {"speaker_id": "S0", "start_time": 0, "end_time": 3.25, "speaker_type": "agent", "confidence": 0.9},
            {"speaker_id": "S1", "start_time": 3.25, "end_time": 6.5, "speaker_type": "customer"},
        ],
        "transcriptions": [
            {"text": "여보세요?", "start_time": 3.25, "end_time": 6.5, "segment_index": 1},
            {"text": "안녕하세요.", "start_time": 0.0, "end_time": 3.25, "segment_index": 0, "language": "ko-KR"},
            {"text": "(음악)", "start_time": 6.5, "end_time": 6.5},
        ],
        "metrics": {"snr_db": 21.5, "clarity_score": 1},
        "features": {"mfcc": list(range(13)), "summary": "인사"},
    } | parts


def quality(call: int, **parts: Any) -> dict[str, Any]:
    return {
        "audio_file_id": call,
        "session": {"session_date": "2026-03-31", "duration_minutes": 2.5, "agent_name": "김하나", "summary": "인사"},
        "metrics": [{"name": "friendliness", "value": 0.1 + 0.2, "weight": 0.5, "category": "attitude"}],
        "sentiment": [{"speaker_type": "customer", "sentiment_score": -1, "emotion_category": "angry"}] * 2,
        "patterns": [{"pattern_type": "long_silence", "frequency": 3}],
        "suggestions": [{"category": "process", "text": "더 빨리", "priority": "high"}],
        "communication_quality": {"honorific_ratio": 12.5, "analysis_details": {"말": ["네", None, 1]}},
    } | parts


def ask(calls: MultiDatabaseManager, query: str, *values: Any) -> Any:
    return calls.postgres.execute_query(query, values, fetch="val")


def counted(calls: MultiDatabaseManager) -> dict[str, int]:
    return {table: ask(calls, f"select count(*) from {table}") for table in tables()}


def test_whole_audio_analysis(calls: MultiDatabaseManager) -> None:
    ids = calls.save_audio_analysis(audio())
    result = calls.get_complete_analysis_result(ids["audio_file_id"])
    assert result is not None
    found = result["audio_analysis"]
    file = found["audio_file"]
    assert (file["format"], file["duration_seconds"], file["processing_status"]) == ("wav", 6.5, "completed")
    assert file["processing_completed_at"].utcoffset() is not None
    assert [segment["id"] for segment in found["speaker_segments"]] == ids["segment_ids"]
    by_id = {line["id"]: line for line in found["transcriptions"]}
    hello, music = by_id[ids["transcription_ids"][1]], by_id[ids["transcription_ids"][2]]
    assert (hello["speaker_segment_id"], hello["language"]) == (ids["segment_ids"][0], "ko-KR")
    # A field that others have and this one has not takes its default.
    assert (music["speaker_segment_id"], music["language"], music["punctuation_restored"]) == (None, "ko", False)
    assert (found["metrics"]["snr_db"], found["metrics"]["clarity_score"]) == (21.5, 1.0)
    assert (found["features"]["mfcc"], found["features"]["topic"]) == (
        [float(number) for number in range(13)],
        "Unknown",
    )
    said = [(line["speaker"], line["speaker_role"], line["text"]) for line in result["transcript"]]
    assert said == [("S0", "agent", "안녕하세요."), ("S1", "customer", "여보세요?"), (None, None, "(음악)")]


def test_whole_quality_analysis(calls: MultiDatabaseManager, call: int) -> None:
    ids = calls.save_quality_analysis(quality(call))
    result = calls.get_complete_analysis_result(call)
    assert result is not None
    found = result["consultation_quality"]
    session = found["session"]
    assert (session["id"], session["session_date"]) == (ids["session_id"], date(2026, 3, 31))
    assert (session["analysis_status"], session["summary"]) == ("completed", "인사")
    assert session["analysis_completed_at"].utcoffset() is not None
    lists = {"metric_ids": "metrics", "sentiment_ids": "sentiment", "pattern_ids": "patterns"}
    for key, part in (lists | {"suggestion_ids": "suggestions"}).items():
        assert [row["id"] for row in found[part]] == ids[key] != []
    assert found["metrics"][0]["metric_value"] == 0.1 + 0.2
    assert found["suggestions"][0]["suggestion_text"] == "더 빨리"
    assert found["communication_quality"]["id"] == ids["communication_quality_id"]
    assert found["communication_quality"]["analysis_details"] == {"말": ["네", None, 1]}


def test_parts_that_are_not_there(calls: MultiDatabaseManager) -> None:
    ids = calls.save_audio_analysis({"audio_file": {"file_name": "b.wav"}, "segments": [], "status": "failed"})
    assert (ids["segment_ids"], ids["transcription_ids"]) == ([], [])
    session = {"session_date": date(2026, 3, 31), "duration_minutes": 0}
    assessed = calls.save_quality_analysis({"audio_file_id": ids["audio_file_id"], "session": session})
    assert assessed["communication_quality_id"] is None
    assert ask(calls, "select processing_completed_at from audio_files where id = %s", ids["audio_file_id"]) is None


def test_parts_one_by_one(calls: MultiDatabaseManager, call: int, session: int) -> None:
    """As the application's own classes were called."""
    [segment] = calls.save_speaker_segments(call, [{"speaker_id": "S0", "start_time": 0.0, "end_time": 1.0}])
    line = {"text_content": "네", "start_time": 0.0, "end_time": 1.0, "speaker_segment_id": segment}
    [said] = calls.save_transcriptions(call, [line])
    assert [row["id"] for row in calls.get_transcript(call)] == [said]
    assert (
        calls.save_audio_metrics(call, {"snr_db": 1.0}) == calls.save_audio_metrics(call, {"speech_rate": 2.0}) == call
    )
    metrics = calls.postgres.execute_query("select * from audio_metrics where audio_file_id = %s", (call,), fetch="one")
    assert metrics is not None
    assert (metrics["snr_db"], metrics["speech_rate"]) == (None, 2.0)
    calls.update_audio_processing_status(call, "failed", "no speech")
    assert ask(calls, "select error_message from audio_files where id = %s", call) == "no speech"
    calls.update_consultation_analysis_status(session, "processing")
    calls.update_consultation_analysis_status(session, "completed", 0.5, summary="끝", resolution_status="resolved")
    calls.update_consultation_analysis_status(session, "completed", customer_satisfaction_score=1)
    row = calls.get_session_by_audio_file_id(call)
    assert row is not None
    assert (row["overall_quality_score"], row["customer_satisfaction_score"], row["summary"]) == (0.5, 1.0, "끝")
    assert row["analysis_started_at"] <= row["analysis_completed_at"]
    assert row["consultation_type"] == "other"
    calls.insert_utterance({"audio_path": "/calls/u.wav", "speaker": "고객", "text": "네"})
    calls.insert_consultation_analysis({"audio_file_id": call, "business_type": "요금"})
    calls.insert_communication_quality({"audio_path": "/calls/u.wav", "talk_ratio": 0.5})
    calls.insert_analysis_history({"session_id": session, "analysis_type": "quality", "status": "completed"})
    assert ask(calls, "select count(*) from analysis_history where session_id = %s", session) == 1


def test_thousands_of_elements(calls: MultiDatabaseManager, call: int) -> None:
    segments = [{"speaker_id": f"S{n}", "start_time": n, "end_time": n + 0.5} for n in range(2_500)]
    ids = calls.save_speaker_segments(call, segments)
    stored = calls.postgres.execute_query(
        "select id, speaker_id from speaker_segments where audio_file_id = %s", (call,)
    )
    assert {row["id"]: row["speaker_id"] for row in stored} == {
        found: segment["speaker_id"] for found, segment in zip(ids, segments, strict=True)
    }


def test_lists_are_not_stored_row_by_row(calls: MultiDatabaseManager, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for length in (2, 400):
        before = calls.postgres.statistics().queries
        lines = [{"text": "네", "start_time": n, "end_time": n} for n in range(length)]
        calls.save_audio_analysis({"audio_file": FILE, "transcriptions": lines})
        counts.append(calls.postgres.statistics().queries - before)
    assert counts[0] == counts[1] < 30


def test_half_failed_saves_leave_nothing(calls: MultiDatabaseManager, call: int) -> None:
    """The last part of each is the bad one; and the server's own refusals undo everything too."""
    before = counted(calls)
    with pytest.raises(InvalidAnalysis, match=r"^features\.topic_id: there is no such topic$"):
        calls.save_audio_analysis(audio(features={"topic_id": 2**40}))
    with pytest.raises(InvalidAnalysis, match=r"^session\.status: must be one of pending, processing, "):
        calls.save_quality_analysis(quality(call, status="done"))
    with pytest.raises(InvalidAnalysis, match=r"^transcriptions\[1\]\.text: is required$"):
        calls.save_audio_analysis(
            audio(transcriptions=[audio()["transcriptions"][0], {"start_time": 0, "end_time": 1}])
        )
    assert counted(calls) == before


def test_saves_join_a_transaction(calls: MultiDatabaseManager) -> None:
    before = counted(calls)
    with suppress(TakenBack), calls.postgres.transaction():
        found = calls.save_audio_analysis(audio())["audio_file_id"]
        calls.save_quality_analysis(quality(found))
        raise TakenBack
    assert counted(calls) == before


def test_saves_at_once(calls: MultiDatabaseManager) -> None:
    """Each call keeps its own segments."""

    def save(number: int) -> tuple[int, dict[str, Any]]:
        segments = [{"speaker_id": f"{number}-{n}", "start_time": n, "end_time": n} for n in range(20)]
        lines = [{"text": f"{number}-{n}", "start_time": n, "end_time": n, "segment_index": n} for n in range(20)]
        return number, calls.save_audio_analysis(audio(segments=segments, transcriptions=lines))

    with ThreadPoolExecutor(8) as threads:
        saved = list(threads.map(save, range(16)))
    for number, ids in saved:
        said = calls.get_transcript(ids["audio_file_id"])
        assert [(line["speaker"], line["text"]) for line in said] == [(f"{number}-{n}",) * 2 for n in range(20)]


def test_metrics_of_one_recording_at_once(calls: MultiDatabaseManager, call: int) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: calls.save_audio_metrics(call, {"snr_db": n}), range(16)))
    assert ask(calls, "select count(*) from audio_metrics where audio_file_id = %s", call) == 1


def test_coroutines_save(shared_database: Settings) -> None:
    async def save() -> tuple[list[str], int]:
        async with PostgreSQLManager(shared_database) as postgres:
            calls = MultiDatabaseManager(postgres)
            found = await asyncio.gather(*(calls.asave_audio_analysis(audio()) for _ in range(5)))
            call = found[0]["audio_file_id"]
            ids = await calls.asave_quality_analysis(quality(call))
            await calls.aupdate_consultation_analysis_status(ids["session_id"], "failed")
            with pytest.raises(InvalidAnalysis):
                await calls.asave_quality_metrics(ids["session_id"], [{}])
            with suppress(TakenBack):
                async with postgres.atransaction():
                    await calls.asave_quality_analysis(quality(call))
                    raise TakenBack
            row = await calls.aget_session_by_audio_file_id(call)
            assert row is not None
            assert (row["id"], row["analysis_status"]) == (ids["session_id"], "failed")
            return [line["text"] for line in await calls.aget_transcript(call)], len(
                {f["audio_file_id"] for f in found}
            )

    assert asyncio.run(save()) == (["안녕하세요.", "여보세요?", "(음악)"], 5)


SEGMENT = {"speaker_id": "S0", "start_time": 0.0, "end_time": 1.0}
LINE = {"text": SECRET, "start_time": 0.0, "end_time": 1.0}
METRIC = {"name": "a", "value": 1}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"segments": [SEGMENT, {"speaker_id": "S0", "end_time": 1}]}, "segments[1].start_time: is required"),
        ({"segments": [SEGMENT | {"speaker_id": None}]}, "segments[0].speaker_id: is required"),
        ({"segments": [SEGMENT | {"start_time": SECRET}]}, "segments[0].start_time: must be a number, not str"),
        ({"segments": [SEGMENT | {"start_time": True}]}, "segments[0].start_time: must be a number, not bool"),
        ({"segments": [SEGMENT | {"start_time": math.nan}]}, "segments[0].start_time: must be a finite number"),
        ({"segments": [SEGMENT | {"end_time": math.inf}]}, "segments[0].end_time: must be a finite number"),
        ({"segments": [SEGMENT | {"end_time": 10**400}]}, "segments[0].end_time: must be a finite number"),
        (
            {"segments": [SEGMENT | {"speaker_type": "고객"}]},
            "segments[0].speaker_type: must be one of customer, agent, unknown",
        ),
        (
            {"segments": [SEGMENT | {"sex": SECRET}]},
            "segments[0].sex: there is no such field: use "
            "confidence, created_at, end_time, speaker_id, speaker_type, start_time",
        ),
        (
            {"segments": [SEGMENT | {"created_at": datetime(2026, 1, 1)}]},
            "segments[0].created_at: must have a time zone",
        ),
        (
            {"metrics": {SECRET: 1}},
            "metrics: a field has no name: use audio_quality_score, background_noise_level, clarity_score, created_at, "
            "pause_frequency, snr_db, speech_rate, volume_level",
        ),
        ({"segments": [SEGMENT, SECRET]}, "segments[1]: must be a dict"),
        ({"segments": SECRET}, "segments: must be a list"),
        (
            {"transcriptions": [LINE | {"text": SECRET + "\0"}]},
            "transcriptions[0].text: holds a NUL character, which PostgreSQL can't store",
        ),
        (
            {"transcriptions": [LINE | {"text": "\ud800"}]},
            "transcriptions[0].text: holds half a character (a lone surrogate)",
        ),
        ({"transcriptions": [LINE | {"text": 7}]}, "transcriptions[0].text: must be text, not int"),
        (
            {"transcriptions": [LINE | {"text_content": SECRET}]},
            "transcriptions[0].text_content: is given twice, as text_content too",
        ),
        (
            {"transcriptions": [LINE | {"segment_index": 2}]},
            "transcriptions[0].segment_index: the recording has 2 segments, counted from 0",
        ),
        (
            {"transcriptions": [LINE | {"segment_index": -1}]},
            "transcriptions[0].segment_index: the recording has 2 segments, counted from 0",
        ),
        (
            {"transcriptions": [LINE | {"segment_index": "0"}]},
            "transcriptions[0].segment_index: must be a whole number, not str",
        ),
        (
            {"transcriptions": [LINE | {"punctuation_restored": 1}]},
            "transcriptions[0].punctuation_restored: must be true or false, not int",
        ),
        ({"metrics": {"clarity_score": 1.01}}, "metrics.clarity_score: must be between 0 and 1"),
        ({"features": {"mfcc": [1.0] * 12}}, "features.mfcc: must be a list of 13 numbers"),
        ({"features": {"mfcc": [1.0] * 12 + [None]}}, "features.mfcc: must be a number, not NoneType"),
        ({"audio_file": FILE | {"file_size": 2**63}}, "audio_file.file_size: must be a whole number of 64 bits"),
        ({"audio_file": None}, "audio_file: is required"),
        ({"status": None}, "audio_file.status: is required"),
    ],
    ids=str,
)
def test_bad_elements_of_audio(calls: MultiDatabaseManager, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidAnalysis) as refused:
        calls.save_audio_analysis(audio(**{"transcriptions": []} | parts))
    assert str(refused.value) == message
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"metrics": [METRIC, METRIC | {"weight": -0.1}]}, "metrics[1].weight: must be between 0 and 1"),
        ({"metrics": [{"value": 1}]}, "metrics[0].name: is required"),
        ({"metrics": [METRIC | {"metric_name": SECRET}]}, "metrics[0].metric_name: is given twice, as metric_name too"),
        (
            {"sentiment": [{"speaker_type": "agent", "sentiment_score": -1.5}]},
            "sentiment[0].sentiment_score: must be between -1 and 1",
        ),
        (
            {"suggestions": [{"category": "process", "text": SECRET, "priority": "urgent"}]},
            "suggestions[0].priority: must be one of high, medium, low",
        ),
        (
            {"patterns": [{"pattern_type": "interruption", "frequency": 1.0}]},
            "patterns[0].frequency: must be a whole number, not float",
        ),
        (
            {"session": {"session_date": "31.3.2026", "duration_minutes": 1}},
            "session.session_date: must be a day such as 2026-03-31",
        ),
        (
            {"session": {"session_date": datetime(2026, 3, 31, tzinfo=UTC), "duration_minutes": 1}},
            "session.session_date: must be a date, not datetime",
        ),
        (
            {"communication_quality": {"analysis_details": {"a": math.nan}}},
            "communication_quality.analysis_details: must be what JSON can hold, and no NaN",
        ),
        (
            {"communication_quality": {"analysis_details": ["\0"]}},
            "communication_quality.analysis_details: holds a NUL character, which PostgreSQL can't store",
        ),
        (
            {"communication_quality": {"analysis_details": {1}}},
            "communication_quality.analysis_details: must be what JSON can hold, and no NaN",
        ),
        ({"audio_file_id": None}, "audio_file_id: is required"),
        ({"audio_file_id": "1"}, "audio_file_id: must be a whole number, not str"),
    ],
    ids=str,
)
def test_bad_elements_of_quality(calls: MultiDatabaseManager, call: int, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidAnalysis) as refused:
        calls.save_quality_analysis(quality(call, **parts))
    assert str(refused.value) == message
    assert SECRET not in str(refused.value)


def test_unknown_parts(calls: MultiDatabaseManager, call: int) -> None:
    with pytest.raises(InvalidAnalysis, match=r"^segment: there is no such part: use audio_file, error_message, "):
        calls.save_audio_analysis(audio(segment=[]))
    with pytest.raises(InvalidAnalysis, match=r"^communication_quality\.audio_file_id: is required, or audio_path$"):
        calls.save_communication_quality({"talk_ratio": 0.5})
    with pytest.raises(InvalidAnalysis, match="must be a dict"):
        calls.save_quality_analysis([call])  # type: ignore[arg-type]


def test_backslash_before_a_zero_is_not_nul(calls: MultiDatabaseManager, call: int) -> None:
    details = {"path": "c:\\u0000"}
    assert "\\\\u0000" in json.dumps(details)
    calls.save_communication_quality({"audio_file_id": call, "analysis_details": details})
    found = calls.get_communication_quality(call)
    assert found is not None
    assert found["analysis_details"] == details


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda calls: calls.update_audio_processing_status(404, "failed"),
            "audio_file_id 404: there is no such audio file",
        ),
        (
            lambda calls: calls.update_consultation_analysis_status(404, "failed"),
            "session_id 404: there is no such session",
        ),
        (lambda calls: calls.save_speaker_segments(404, []), "audio_file_id 404: there is no such audio file"),
        (lambda calls: calls.save_transcriptions(404, [LINE]), "audio_file_id 404: there is no such audio file"),
        (lambda calls: calls.save_audio_metrics(404, {}), "audio_file_id 404: there is no such audio file"),
        (lambda calls: calls.save_quality_metrics(404, [METRIC]), "session_id 404: there is no such session"),
        (
            lambda calls: calls.create_consultation_session(404, "2026-03-31", 1),
            "audio_file_id 404: there is no such audio file",
        ),
        (lambda calls: calls.save_quality_analysis(quality(404)), "audio_file_id 404: there is no such audio file"),
        (
            lambda calls: calls.insert_utterance({"audio_file_id": 404}),
            "audio_file_id 404: there is no such audio file",
        ),
    ],
)
def test_what_is_not_there(
    shared_database: Settings, calls: MultiDatabaseManager, act: Callable[[MultiDatabaseManager], Any], message: str
) -> None:
    calls.postgres.execute_query("delete from audio_files where id = 404", fetch="none")
    with pytest.raises(AnalysisNotFound) as refused:
        act(calls)
    assert str(refused.value) == message
    assert isinstance(refused.value, CallyticsError)


def test_segment_of_another_recording(calls: MultiDatabaseManager, call: int) -> None:
    [segment] = calls.save_audio_analysis(audio(segments=[SEGMENT], transcriptions=[]))["segment_ids"]
    with pytest.raises(
        InvalidAnalysis, match=r"^transcriptions\[1\]\.speaker_segment_id: the recording has no such segment$"
    ):
        calls.save_transcriptions(call, [LINE, LINE | {"speaker_segment_id": segment}])
    assert calls.get_transcript(call) == []


def test_constraints_of_the_table_stay_the_drivers(calls: MultiDatabaseManager, call: int) -> None:
    calls.insert_consultation_analysis({"audio_file_id": call, "consultation_id": "K1"})
    with pytest.raises(psycopg.errors.UniqueViolation):
        calls.insert_consultation_analysis({"audio_file_id": call, "consultation_id": "K1"})
