"""The views' counts, against the tables asked one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg2.extensions import connection as Connection

from callytics.postgres import connect
from callytics.settings import Settings
from tests.support.filling import fill

# Several children of each parent, in numbers that multiply to something else.
CHILDREN = """
set callytics.importing = 'on';
insert into speaker_segments (audio_file_id, speaker_id, start_time, end_time)
    select 1 + g % 4, 's', g, g from generate_series(1, 37) as g;
insert into transcriptions (audio_file_id, text_content, start_time, end_time)
    select 1 + g % 3, 't', g, g from generate_series(1, 53) as g;
insert into agent_activity_logs (agent_id, activity_type, created_at)
    select 1 + g % 3, 'login', now() - g * interval '1 day' from generate_series(0, 50) as g;
insert into communication_quality (audio_file_id, honorific_ratio, created_at)
    select 1 + g % 2, g, now() - g * interval '1 day' from generate_series(0, 60) as g;
insert into consultation_analysis (audio_file_id, business_type) select 1 + g % 3, 'b' from generate_series(1, 11) as g;
update consultation_sessions set agent_name = 'full_name ' || 1 + id % 3;
update consultation_sessions set analysis_status = 'completed' where id % 2 = 0;
update customer_response_analysis set escalation_risk = 0.9 where id % 3 = 0;
"""

SESSION_CHILDREN = [
    "quality_metrics",
    "sentiment_analysis",
    "communication_patterns",
    "improvement_suggestions",
    "sentiment_timeline",
    "detailed_quality_metrics",
    "communication_pattern_analysis",
    "consultation_phase_analysis",
    "agent_behavior_analysis",
    "customer_response_analysis",
]
RUN_CHILDREN = ("llm_issue_detection", "llm_sentiment_timeline", "llm_improvement_recommendations")

COUNTED = [
    ("audio_processing_summary", "id", "speaker_segments_count", "speaker_segments where audio_file_id = {}"),
    ("audio_processing_summary", "id", "transcription_count", "transcriptions where audio_file_id = {}"),
    ("consultation_quality_summary", "id", "quality_metrics_count", "quality_metrics where session_id = {}"),
    ("consultation_quality_summary", "id", "sentiment_analysis_count", "sentiment_analysis where session_id = {}"),
    (
        "consultation_quality_summary",
        "id",
        "communication_patterns_count",
        "communication_patterns where session_id = {}",
    ),
    (
        "consultation_quality_summary",
        "id",
        "improvement_suggestions_count",
        "improvement_suggestions where session_id = {}",
    ),
    ("llm_analysis_summary", "id", "issues_count", "llm_issue_detection where llm_analysis_id = {}"),
    ("llm_analysis_summary", "id", "sentiment_segments_count", "llm_sentiment_timeline where llm_analysis_id = {}"),
    (
        "llm_analysis_summary",
        "id",
        "recommendations_count",
        "llm_improvement_recommendations where llm_analysis_id = {}",
    ),
    (
        "agent_summary_view",
        "id",
        "total_sessions",
        "consultation_sessions where agent_name = (select full_name from agent_profiles where id = {})",
    ),
    ("agent_summary_view", "id", "performance_evaluations", "agent_performance_history where agent_id = {}"),
    (
        "agent_summary_view",
        "id",
        "training_completions",
        "agent_training_history where completion_status = 'completed' and agent_id = {}",
    ),
    (
        "agent_summary_view",
        "id",
        "recent_activities",
        "agent_activity_logs where agent_id = {} "
        "and created_at >= date_trunc('day', now(), 'UTC') - interval '30 days'",
    ),
    (
        "agent_performance_summary",
        "agent_name",
        "total_sessions",
        "consultation_sessions where analysis_status = 'completed' and agent_name = {}",
    ),
    (
        "agent_performance_summary",
        "agent_name",
        "resolved_sessions",
        "consultation_sessions where analysis_status = 'completed' and agent_name = {} "
        "and resolution_status = 'resolved'",
    ),
    ("enhanced_quality_summary", "session_id", "sentiment_segments_count", "sentiment_timeline where session_id = {}"),
    (
        "enhanced_quality_summary",
        "session_id",
        "angry_segments",
        "sentiment_timeline where dominant_emotion = 'angry' and session_id = {}",
    ),
    (
        "enhanced_quality_summary",
        "session_id",
        "detailed_metrics_count",
        "detailed_quality_metrics where session_id = {}",
    ),
    (
        "enhanced_quality_summary",
        "session_id",
        "critical_metrics_count",
        "detailed_quality_metrics where is_critical and session_id = {}",
    ),
    (
        "enhanced_quality_summary",
        "session_id",
        "communication_patterns_count",
        "communication_pattern_analysis where session_id = {}",
    ),
    (
        "enhanced_quality_summary",
        "session_id",
        "consultation_phases_count",
        "consultation_phase_analysis where session_id = {}",
    ),
    (
        "enhanced_quality_summary",
        "session_id",
        "agent_behaviors_count",
        "agent_behavior_analysis where session_id = {}",
    ),
    (
        "enhanced_quality_summary",
        "session_id",
        "customer_responses_count",
        "customer_response_analysis where session_id = {}",
    ),
    (
        "enhanced_quality_summary",
        "session_id",
        "high_escalation_risk_count",
        "customer_response_analysis where escalation_risk > 0.7 and session_id = {}",
    ),
]

ROWS = [
    ("audio_processing_summary", "audio_files"),
    ("consultation_quality_summary", "consultation_sessions"),
    ("enhanced_quality_summary", "consultation_sessions"),
    ("llm_analysis_summary", "llm_analysis"),
    ("agent_summary_view", "agent_profiles where is_active"),
    ("sentiment_trend_analysis", "sentiment_timeline"),
    (
        "consultation_statistics",
        "(select distinct business_type, classification_type, consultation_result from consultation_analysis) as t",
    ),
    ("agent_performance_trends", "(select distinct agent_id, evaluation_date from agent_performance_history) as t"),
]


@pytest.fixture
def filled(database: Settings) -> Iterator[Connection]:
    connection = connect(database, owner=True)
    fill(connection, 30)
    with connection, connection.cursor() as cursor:
        cursor.execute(CHILDREN)
        for table in SESSION_CHILDREN:
            cursor.execute(f"update {table} set session_id = 1 + id % {5 + SESSION_CHILDREN.index(table)}")
        for table in RUN_CHILDREN:
            cursor.execute(f"update {table} set llm_analysis_id = 1 + id % {4 + RUN_CHILDREN.index(table)}")
    yield connection
    connection.close()


def every(connection: Connection, query: str) -> list[tuple[object, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_every_count_is_that_of_the_table(filled: Connection) -> None:
    """The original views multiplied the children of one parent with each other."""
    for view, key, count, counted in COUNTED:
        wrong = f"""
            select v.{key}, v.{count}, (select count(*) from {counted.format("v." + key)}) from {view} as v
            where v.{count} <> (select count(*) from {counted.format("v." + key)})
        """
        assert every(filled, wrong) == [], f"{view}.{count}"
        assert every(filled, f"select max({count}) > 0 from {view}") == [(True,)], f"{view}.{count} is never above 0"


def test_every_view_has_a_row_for_each_of_its_subjects(filled: Connection) -> None:
    for view, subjects in ROWS:
        assert every(filled, f"select count(*) from {view}") == every(filled, f"select count(*) from {subjects}"), view


def test_an_average_is_not_weighted_by_other_children(filled: Connection) -> None:
    averages = """
        select v.session_id from enhanced_quality_summary as v
        where (v.avg_sentiment_score, v.avg_metric_value, v.avg_phase_quality) is distinct from (
            (select avg(sentiment_score) from sentiment_timeline as t where t.session_id = v.session_id),
            (select avg(metric_value) from detailed_quality_metrics as t where t.session_id = v.session_id),
            (select avg(phase_quality_score) from consultation_phase_analysis as t where t.session_id = v.session_id)
        )
    """
    assert every(filled, averages) == []


def test_the_nth_analysis_stands_beside_the_nth_quality(filled: Connection) -> None:
    view = "v_integrated_consultation_analysis"
    each = """
        select a.id, greatest(1, (select count(*) from consultation_analysis as c where c.audio_file_id = a.id),
            (select count(*) from communication_quality as q where q.audio_file_id = a.id))
        from audio_files as a order by a.id
    """
    assert every(filled, f"select audio_id, count(*) from {view} group by audio_id order by audio_id") == every(
        filled, each
    )
    qualities = "select sum(honorific_ratio) from"
    assert every(filled, f"{qualities} {view}") == every(filled, f"{qualities} communication_quality")


def test_the_days_are_those_of_utc(filled: Connection) -> None:
    every(filled, "update consultation_analysis set created_at = '2024-03-01 08:59:00+09' where id = 1 returning id")
    with filled, filled.cursor() as cursor:
        cursor.execute("set local timezone = 'Asia/Seoul'")
        cursor.execute("select count(*) from daily_consultation_stats where analysis_date = '2024-02-29'")
        assert cursor.fetchone() == (1,)


def test_the_last_thirty_days_count(filled: Connection) -> None:
    recent = "communication_quality where created_at >= date_trunc('day', now(), 'UTC') - interval '30 days'"
    assert every(filled, "select total_consultations from v_communication_quality_summary") == every(
        filled, f"select count(*) from {recent}"
    )


def test_a_sentiment_is_compared_with_the_one_before(filled: Connection) -> None:
    every(filled, "delete from sentiment_timeline returning id")
    every(
        filled,
        "insert into sentiment_timeline "
        "(session_id, speaker_type, time_start, time_end, dominant_emotion, sentiment_score) "
        "values (1, 'customer', 0, 1, 'angry', -0.5), (1, 'customer', 1, 2, 'happy', 0.5), "
        "(1, 'agent', 1, 2, 'happy', 0.1), (1, 'customer', 2, 3, 'angry', 0) returning id",
    )
    found = every(filled, "select speaker_type, previous_sentiment, sentiment_trend from sentiment_trend_analysis")
    assert found == [
        ("agent", None, "stable"),
        ("customer", None, "stable"),
        ("customer", -0.5, "improved"),
        ("customer", 0.5, "worsened"),
    ]
