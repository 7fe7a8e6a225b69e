"""With tens of thousands of calls, every query finds its rows by an index, in the partitions too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from callytics.calls import MultiDatabaseManager
from callytics.postgres import connect
from callytics.settings import Settings
from tests.support.searching import Explaining, indexes, rows_read, scanned

CALLS = 20_000
FILL = f"""
insert into audio_files (id, file_path, file_name, processing_status, created_at)
select n, '/calls/' || n || '.wav', n || '.wav', 'completed', timestamptz '2026-01-01 00:00Z' + n * interval '6 minutes'
from generate_series(1, {CALLS}) as n;

insert into transcriptions (audio_file_id, text_content, start_time, end_time, created_at)
select n, 'w' || n % 5000 || '이 말', line, line + 1, timestamptz '2026-01-01 00:00Z' + n * interval '6 minutes'
from generate_series(1, {CALLS} / 2) as n, generate_series(1, 2) as line;

insert into utterances (audio_file_id, audio_path, text, start_time, end_time, created_at)
select
    case when n % 2 = 0 then n end, case when n % 2 = 1 then '/calls/' || n || '.wav' end, 'w' || n % 5000 || '이 말',
    line, line + 1, timestamptz '2026-01-01 00:00Z' + n * interval '6 minutes'
from generate_series({CALLS} / 2 + 1, {CALLS}) as n, generate_series(1, 2) as line;

insert into consultation_sessions (audio_file_id, session_date, duration_minutes, agent_name, created_at)
select n, '2026-01-01', 1, 'agent ' || n % 500, timestamptz '2026-01-01 00:00Z' from generate_series(1, {CALLS}) as n;

insert into communication_quality (audio_file_id, audio_path)
select case when n % 2 = 0 then n end, case when n % 2 = 1 then '/calls/' || n || '.wav' end
from generate_series(1, {CALLS}) as n;

select ensure_month_partitions('transcriptions', '2026-01-01', '2026-02-01');
select ensure_month_partitions('utterances', '2026-02-01', '2026-03-01');
"""


@pytest.fixture(scope="module")
def calls(shared_database: Settings) -> Iterator[MultiDatabaseManager]:
    connection = connect(shared_database, owner=True)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(FILL)
        # As autovacuum leaves tables: some indexes answer alone only then.
        cursor.execute("vacuum (analyze)")
    connection.close()
    with Explaining(shared_database) as postgres:
        postgres.plans = []
        yield MultiDatabaseManager(postgres)


@pytest.mark.parametrize(
    ("act", "rows"),
    [
        (lambda calls: calls.find_calls().rows, 50),
        (lambda calls: calls.find_calls(after=calls.find_calls(limit=500).next).rows, 50),
        (lambda calls: calls.find_calls(since=datetime(2026, 2, 1, tzinfo=UTC)).rows, 50),
        (lambda calls: calls.find_calls(until=datetime(2026, 2, 1, tzinfo=UTC)).rows, 50),
        (lambda calls: calls.find_calls(path="/calls/7.wav").rows, 1),
        (lambda calls: calls.find_calls(agent="agent 7").rows, 40),
        (lambda calls: calls.find_calls(search="w77이").rows, 4),
        (lambda calls: calls.find_calls(search="w77", agent="agent 77").rows, 4),
        (lambda calls: calls.search_transcripts("w77이").rows, 8),
        (lambda calls: calls.search_transcripts("말").rows, 50),
        (lambda calls: calls.find_calls(search="말").rows, 50),
        (lambda calls: calls.search_transcripts("w77이", snippets=True, limit=3).rows, 3),
        (lambda calls: calls.get_transcript(100), 2),
        (lambda calls: calls.get_transcript(CALLS), 2),
        (lambda calls: calls.get_transcript(CALLS - 1), 2),
        (lambda calls: [calls.get_audio_file_by_path("/calls/7.wav")], 1),
        (lambda calls: [calls.get_session_by_audio_file_id(7)], 1),
        (lambda calls: [calls.get_communication_quality(7)], 1),
        (lambda calls: [calls.get_communication_quality(8)], 1),
        (lambda calls: [calls.get_complete_analysis_result(7)], 1),
    ],
)
def test_queries_use_indexes(
    calls: MultiDatabaseManager, act: Callable[[MultiDatabaseManager], list[Any]], rows: int
) -> None:
    assert isinstance(calls.postgres, Explaining)
    calls.postgres.plans.clear()
    found = act(calls)
    assert len(found) == rows
    assert None not in found
    assert calls.postgres.plans
    assert scanned(calls.postgres.plans) == set()
    assert max(plan["Execution Time"] for plan in calls.postgres.plans) < 3_000


NEWEST_CALLS = {"audio_files_newest_idx"}
WORDS = {"transcriptions_to_tsvector_idx", "utterances_to_tsvector_idx"}
NEWEST_SAID = {"transcriptions_coalesce_id_idx"}
OF_AGENTS = {"consultation_sessions_calls_of_agents_idx"}
OF_CALLS = {"transcriptions_audio_file_id_start_time_idx"}
# A fifth of the agents, who have a hundred calls one after the other and then four hundred none.
TEAM = [f"agent {number}" for number in range(100)]


@pytest.mark.parametrize(
    ("agents", "act", "used", "most"),
    [
        (None, lambda calls: calls.find_calls(), NEWEST_CALLS, 200),
        (None, lambda calls: calls.find_calls(after=calls.find_calls(limit=500).next), NEWEST_CALLS, 1_600),
        (None, lambda calls: calls.search_transcripts("w77이"), WORDS | NEWEST_SAID, 13_100),
        (None, lambda calls: calls.search_transcripts("말"), NEWEST_SAID, 1_000),
        (None, lambda calls: calls.search_transcripts('"말 w77이"~3'), WORDS | NEWEST_SAID, 13_100),
        (None, lambda calls: calls.search_transcripts('"w77이 말"'), WORDS | NEWEST_SAID, 13_100),
        (None, lambda calls: calls.search_transcripts("없는말"), WORDS | NEWEST_SAID, 13_100),
        (None, lambda calls: calls.find_calls(search="w77이"), WORDS | NEWEST_CALLS, 2_500),
        (None, lambda calls: calls.find_calls(search="말"), NEWEST_CALLS | OF_CALLS, 1_000),
        (["agent 7"], lambda calls: calls.find_calls(), OF_AGENTS, 200),
        (["agent 7"], lambda calls: calls.search_transcripts("말"), OF_AGENTS | OF_CALLS, 1_000),
        (["agent 7"], lambda calls: calls.search_transcripts("w7"), OF_AGENTS | WORDS, 5_000),
        (["agent 7"], lambda calls: calls.find_calls(search="w7"), OF_AGENTS | WORDS, 5_000),
        (["agent 7"], lambda calls: calls.find_calls(search="말"), OF_AGENTS | OF_CALLS, 1_000),
        (TEAM, lambda calls: calls.search_transcripts("말"), OF_AGENTS | NEWEST_SAID, 9_000),
        (TEAM, lambda calls: calls.search_transcripts("w77이"), OF_AGENTS | WORDS, 9_000),
        (TEAM, lambda calls: calls.find_calls(search="말"), OF_AGENTS | OF_CALLS, 9_000),
    ],
)
def test_a_page_reads_few_rows_by_the_index_that_is_there_for_it(
    calls: MultiDatabaseManager,
    agents: list[str] | None,
    act: Callable[[MultiDatabaseManager], Any],
    used: set[str],
    most: int,
) -> None:
    assert isinstance(calls.postgres, Explaining)
    calls.postgres.plans.clear()
    act(calls.seen_by(agents))
    assert used <= indexes(calls.postgres.plans)
    assert scanned(calls.postgres.plans) == set()
    assert max(map(rows_read, calls.postgres.plans)) <= most


def test_scans_are_noticed(calls: MultiDatabaseManager) -> None:
    """The test above can fail."""
    assert isinstance(calls.postgres, Explaining)
    calls.postgres.plans.clear()
    calls.postgres.execute_query("select * from transcriptions where text_content like '%%w77이%%'", ())
    assert scanned(calls.postgres.plans) == {"transcriptions_2026_01", "transcriptions_2026_02"}
    assert rows_read(calls.postgres.plans[0]) == CALLS
