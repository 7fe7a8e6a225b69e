"""Analyses over HTTP: stored whole or not at all, read again, found, by those who may."""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from callytics.api.guards.limits import BODY_BYTES
from callytics.postgres import connect
from callytics.settings import Settings
from tests.support.application import MAY, Api, api_with_agents, is_problem
from tests.support.filling import fill

SECRET = "고객이 말한 카드번호 1234-5678"
BIGINT = 2**63
ANALYSIS: dict[str, Any] = {
    "audio_file": {
        "file_path": "/srv/calls/0001.wav",
        "file_name": "0001.wav",
        "file_size": 1920044,
        "duration_seconds": 60.0,
        "sample_rate": 16000,
        "channels": 1,
        "format_type": "wav",
    },
    "segments": [
        {"speaker_id": "SPEAKER_00", "start_time": 0.0, "end_time": 4.2, "confidence": 0.97, "speaker_type": "agent"},
        {"speaker_id": "SPEAKER_01", "start_time": 4.2, "end_time": 9.0, "speaker_type": "customer"},
    ],
    "transcriptions": [
        {"segment_index": 0, "text": "안녕하세요, 무엇을 도와드릴까요?", "start_time": 0.0, "end_time": 4.2},
        {
            "segment_index": 1,
            "text": "요금이 너무 많이 나왔어요.",
            "start_time": 4.2,
            "end_time": 9.0,
            "language": "ko",
        },
    ],
    "metrics": {"snr_db": 24.5, "clarity_score": 0.88},
    "quality": {
        "session": {
            "session_date": "2026-11-20",
            "duration_minutes": 1.0,
            "agent_name": "김민수",
            "consultation_type": "billing",
            "overall_quality_score": 0.82,
            "summary": "요금 문의에 답했다.",
            "resolution_status": "resolved",
        },
        "metrics": [{"name": "empathy", "value": 0.8, "weight": 0.5, "category": "attitude"}],
        "sentiment": [{"speaker_type": "customer", "sentiment_score": -0.4, "emotion_category": "frustrated"}],
        "patterns": [{"pattern_type": "interruption", "frequency": 2, "impact_on_quality": "negative"}],
        "suggestions": [{"category": "communication", "text": "먼저 설명해 주세요.", "priority": "high"}],
        "communication_quality": {"honorific_ratio": 0.9, "analysis_details": {"단어": ["요금", 1, None]}},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the analysis with something else at a path such as quality.metrics.0.value."""
    analysis = copy.deepcopy(ANALYSIS)
    *parents, last = path.split(".")
    place: Any = analysis
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    place[int(last) if last.isdigit() else last] = value
    return analysis


def rows(api: Api) -> dict[str, int]:
    """Return how many rows each table has."""
    found = api.service.databases.get_database_stats()["tables"]
    return {name: table["rows"] for name, table in found.items() if not name.startswith("agent_")}


def test_an_analysis_is_stored_read_again_and_found(own_api: Api) -> None:
    stored = own_api.client.post("/analyses", json=ANALYSIS, headers=own_api.log_in("writer"))
    assert stored.status_code == 201, stored.text
    found = stored.json()
    assert stored.headers["location"] == f"/analyses/{found['audio_file_id']}"
    reader = own_api.log_in("reader")
    read = own_api.client.get(stored.headers["location"], headers=reader).json()
    contains(read["audio_analysis"]["audio_file"], ANALYSIS["audio_file"] | {"format_type": ..., "format": "wav"})
    contains(read["audio_analysis"]["metrics"], ANALYSIS["metrics"])
    for got, sent in zip(read["audio_analysis"]["speaker_segments"], ANALYSIS["segments"], strict=True):
        contains(got, sent)
    assert [(said["speaker_role"], said["text"]) for said in read["transcript"]] == [
        ("agent", "안녕하세요, 무엇을 도와드릴까요?"),
        ("customer", "요금이 너무 많이 나왔어요."),
    ]
    quality = read["consultation_quality"]
    contains(quality["session"], ANALYSIS["quality"]["session"] | {"analysis_status": "completed"})
    contains(quality["communication_quality"], ANALYSIS["quality"]["communication_quality"])
    assert [quality[name][0]["session_id"] for name in ("metrics", "sentiment", "patterns", "suggestions")] == [
        found["session_id"]
    ] * 4
    (call,) = own_api.client.get("/calls", params={"search": "요금", "agent": "김민수"}, headers=reader).json()["calls"]
    assert (call["id"], call["summary"]) == (found["audio_file_id"], "요금 문의에 답했다.")
    (said,) = own_api.client.get("/transcripts", params={"search": "많이"}, headers=reader).json()["transcripts"]
    assert (said["audio_file_id"], "«많이»" in said["snippet"]) == (found["audio_file_id"], True)


def contains(row: dict[str, Any], sent: dict[str, Any]) -> None:
    assert {name: row[name] for name, value in sent.items() if value is not ...} == {
        name: value for name, value in sent.items() if value is not ...
    }


def test_a_recording_alone_is_an_analysis(api: Api) -> None:
    analysis = {"audio_file": ANALYSIS["audio_file"], "metrics": None, "quality": None}
    stored = api.client.post("/analyses", json=analysis, headers=api.log_in("writer"))
    assert (stored.status_code, stored.json()["session_id"]) == (201, None)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("audio_file.file_path", None, "body.audio_file.file_path"),
        ("audio_file.file_size", BIGINT, "body.audio_file.file_size"),
        ("audio_file.file_size", -1, "body.audio_file.file_size"),
        ("audio_file.sample_rate", True, "body.audio_file.sample_rate"),
        ("audio_file.sample_rate", "16000", "body.audio_file.sample_rate"),
        ("audio_file.duration_seconds", float("nan"), "body.audio_file.duration_seconds"),
        ("segments.1.start_time", "soon " + SECRET, "body.segments[1].start_time"),
        ("segments.1.start_time", float("inf"), "body.segments[1].start_time"),
        ("transcriptions.0.text", SECRET + "\0", "body.transcriptions[0].text"),
        ("transcriptions.0.text", SECRET + "\ud800", "body.transcriptions[0].text"),
        ("transcriptions.1.segment_index", 2, "body.transcriptions[1].segment_index"),
        ("metrics.clarity_score", 1.01, "body.metrics.clarity_score"),
        ("quality.session.session_date", "2026-02-30", "body.quality.session.session_date"),
        ("quality.metrics.0.category", SECRET, "body.quality.metrics[0].category"),
        ("quality.sentiment.0.sentiment_score", -1.5, "body.quality.sentiment[0].sentiment_score"),
        ("quality.communication_quality.analysis_details", {"a": "\0"}, None),
        ("quality.communication_quality.analysis_details", {"a": ["\ud800"]}, None),
        ("quality.communication_quality.analysis_details", {"\0": 1}, None),
        ("quality.communication_quality.analysis_details", {"a": float("nan")}, None),
        (SECRET, 1, "body.(unknown)"),
        ("quality.misspelt", 1, "body.quality.misspelt"),
    ],
)
def test_what_does_not_fit_is_refused_by_field_and_nothing_is_stored(
    api: Api, path: str, value: Any, field: str | None
) -> None:
    before = rows(api)
    content = json_of(changed(path, value))
    answer = api.client.post("/analyses", content=content, headers=api.log_in("writer") | JSON)
    problem = is_problem(answer, 422)
    assert SECRET not in answer.text
    assert problem["errors"]
    if field:
        assert problem["errors"][0]["field"] == field
    assert rows(api) == before


JSON = {"Content-Type": "application/json"}


def json_of(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_failure_in_the_last_part_leaves_nothing_of_the_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(api)

    def fails(*_: object) -> None:
        raise psycopg.errors.UniqueViolation(SECRET)

    monkeypatch.setattr(type(api.service.databases), "update_consultation_analysis_status", fails)
    answer = api.client.post("/analyses", json=ANALYSIS, headers=api.log_in("writer"))
    is_problem(answer, 409)
    assert SECRET not in answer.text
    assert rows(api) == before


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("POST", "/analyses", ["writer", "admin"]),
        ("GET", "/analyses/1", ["reader", "admin"]),
        ("GET", "/calls", ["reader", "admin"]),
        ("GET", "/transcripts?search=a", ["reader", "admin"]),
        ("GET", "/imports/latest", ["admin"]),
    ],
)
def test_every_route_is_for_those_who_may(api: Api, method: str, path: str, may: list[str]) -> None:
    is_problem(api.client.request(method, path), 401)
    for agent in MAY:
        status = api.client.request(method, path, headers=api.log_in(agent)).status_code
        assert (status != 403) is (agent in may), agent


def test_a_strangers_body_is_not_read(api: Api) -> None:
    def never() -> Iterator[bytes]:
        yield b" " * (BODY_BYTES + 1)

    is_problem(api.client.post("/analyses", content=never(), headers=JSON), 401)
    is_problem(api.client.post("/analyses", content=never(), headers=JSON | api.log_in("writer")), 413)


@pytest.mark.parametrize("given", ["0", "-1", str(BIGINT), "9" * 400, "1.5", "x", "%00", "%ff", "1e3", "١"])
def test_an_invalid_id_is_refused(api: Api, given: str) -> None:
    answer = api.client.get(f"/analyses/{given}", headers=api.log_in("reader"))
    assert answer.status_code in (404, 422)
    is_problem(answer, answer.status_code)


def test_a_call_that_is_not_there_is_404(api: Api) -> None:
    is_problem(api.client.get(f"/analyses/{BIGINT - 1}", headers=api.log_in("reader")), 404)


@pytest.mark.parametrize(
    "query",
    [
        "after=rubbish",
        "after=%00",
        "after=" + "A" * 999,
        "after=WyJjYWxscyIsICJub3ciLCAxXQ==",
        "after=WyJjYWxscyIsICIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwgOTk5OTk5OTk5OTk5OTk5OTk5OTk5OTld",
        "limit=0",
        "limit=501",
        "limit=" + "9" * 30,
        "since=yesterday",
        "until=2026-01-01T00:00:01",
        "since=9999-12-31T23:59:59-14:00",
        "since=0001-01-01T00:00:00%2B14:00",
        "agent=%00",
        "search=a%00b",
        "unknown=1",
    ],
)
def test_an_invalid_filter_is_refused(api: Api, query: str) -> None:
    answer = api.client.get(f"/calls?{query}", headers=api.log_in("reader"))
    if not query.startswith("since=9999") and not query.startswith("since=0001"):
        is_problem(answer, 422)
    assert answer.status_code < 500


@pytest.mark.parametrize("search", ["%ff", "' | & ! : * ( )", "a\\", "%%", "요금 & !", "«»", " ", "x" * 1000])
def test_any_text_may_be_searched_for(api: Api, search: str) -> None:
    for path in ("/calls", "/transcripts"):
        answer = api.client.get(path, params={"search": search}, headers=api.log_in("reader"))
        assert answer.status_code == 200, answer.text


def test_pages_follow_each_other_by_their_links(own_api: Api) -> None:
    writer, reader = own_api.log_in("writer"), own_api.log_in("reader")
    for number in range(7):
        own_api.client.post("/analyses", json=changed("audio_file.file_name", f"{number}.wav"), headers=writer)
    address: str | None = "/calls?limit=3&search=요금&name=wav"
    names: list[str] = []
    while address:
        answer = own_api.client.get(address, headers=reader)
        names += [call["file_name"] for call in answer.json()["calls"]]
        link = answer.headers.get("link", "")
        found = re.fullmatch(r'<(/calls\?[^>]*)>; rel="next"', link)
        assert (found is None) is (answer.json()["next"] is None)
        address = found[1] if found else None
        # What comes meanwhile shifts no page.
        own_api.client.post("/analyses", json=changed("audio_file.file_name", "later.wav"), headers=writer)
    assert names == [f"{number}.wav" for number in reversed(range(7))]


def test_whatever_was_imported_can_be_read(database: Settings) -> None:
    with closing(connect(database, owner=True)) as owner, owner:
        fill(owner, 60)
    with api_with_agents(database, empty=False) as api:
        headers = api.log_in("reader")
        for number in range(1, 61):
            answer = api.client.get(f"/analyses/{number}", headers=headers)
            assert answer.status_code == 200, answer.text
        seen = []
        address = "/calls?limit=25"
        while address:
            answer = api.client.get(address, headers=headers)
            assert answer.status_code == 200, answer.text
            seen += [call["id"] for call in answer.json()["calls"]]
            address = answer.headers.get("link", "<>")[1:].partition(">")[0]
        assert sorted(seen) == list(range(1, 61))
        assert api.client.get("/transcripts?search=text", headers=headers).json()["transcripts"]


def test_a_large_analysis_does_not_hold_up_the_others(api: Api) -> None:
    """The largest body that is taken: the service answers others meanwhile."""
    writer = api.log_in("writer")
    said = {"text": "x" * 300, "start_time": 0, "end_time": 1}
    analysis = {"audio_file": ANALYSIS["audio_file"], "transcriptions": [said] * (BODY_BYTES // 400)}
    body = json_of(analysis)
    assert BODY_BYTES * 0.8 < len(body) < BODY_BYTES
    answers: list[int] = []
    sender = threading.Thread(
        target=lambda: answers.append(api.client.post("/analyses", content=body, headers=writer | JSON).status_code)
    )
    sender.start()
    longest = 0.0
    while sender.is_alive():
        started = time.monotonic()
        assert api.client.get("/health/live").status_code == 200
        longest = max(longest, time.monotonic() - started)
    assert answers == [201]
    print(f"longest wait {longest:.3f} s")  # noqa: T201
    # A machine with eight test processes on two processors took 2.2 s.
    assert longest < 4
