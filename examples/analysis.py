"""One call's analysis: stored, read back, found; and an agent who logs in with the password from before.

    python examples/analysis.py AGENT PASSWORD

The database is that of the environment or .env, which needs JWT_SECRET_KEY too.
"""

from __future__ import annotations

import sys

from callytics.agents import AgentAuth
from callytics.calls import MultiDatabaseManager
from callytics.postgres import PostgreSQLManager
from callytics.settings import ServiceSettings, Settings

HEARD = {
    "audio_file": {"file_path": "/calls/2026-03-31.wav", "file_name": "2026-03-31.wav", "duration_seconds": 7.5},
    "segments": [
        {"speaker_id": "SPEAKER_00", "speaker_type": "agent", "start_time": 0.0, "end_time": 3.2},
        {"speaker_id": "SPEAKER_01", "speaker_type": "customer", "start_time": 3.2, "end_time": 7.5},
    ],
    "transcriptions": [
        {"segment_index": 0, "text": "무엇을 도와드릴까요?", "start_time": 0.0, "end_time": 3.2},
        {"segment_index": 1, "text": "냉장고 배송이 언제 되나요?", "start_time": 3.2, "end_time": 7.5},
    ],
    "metrics": {"snr_db": 21.5, "clarity_score": 0.93},
}
CONCLUDED = {
    "session": {"session_date": "2026-03-31", "duration_minutes": 0.125, "agent_name": "김하나"},
    "metrics": [{"name": "friendliness", "value": 0.87, "category": "attitude"}],
    "sentiment": [{"speaker_type": "customer", "sentiment_score": -0.1, "emotion_category": "anxious"}],
    "suggestions": [{"category": "process", "text": "배송일을 먼저 안내", "priority": "medium"}],
    "communication_quality": {"honorific_ratio": 50.0},
}


def main(username: str, password: str) -> None:
    """Do what the application does with a call."""
    with PostgreSQLManager(Settings.load()) as postgres:
        calls = MultiDatabaseManager(postgres)
        with postgres.transaction():
            call = calls.save_audio_analysis(HEARD)["audio_file_id"]
            calls.save_quality_analysis(CONCLUDED | {"audio_file_id": call})

        result = calls.get_complete_analysis_result(call)
        assert result is not None
        for line in result["transcript"]:
            print(f"{line['start_time']:4.1f}  {line['speaker_role']:<8}  {line['text']}")
        print(
            "metrics:", [(row["metric_name"], row["metric_value"]) for row in result["consultation_quality"]["metrics"]]
        )

        found = calls.search_transcripts("냉장고 배송", snippets=True)
        print("found:", [row["snippet"] for row in found.rows])
        newest = calls.find_calls(agent="김하나", limit=1).rows[0]
        print("newest of 김하나:", newest["file_name"], newest["processing_status"])

        agent = AgentAuth(postgres, ServiceSettings.load()).login(username, password).agent
        print("logged in:", agent.full_name, sorted(agent.permissions))


if __name__ == "__main__":
    main(*sys.argv[1:])
