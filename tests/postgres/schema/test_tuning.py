"""Tuning on 200,000 rows: which index a query takes, which months it reads, and how rows get into their month."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from callytics.postgres import connect
from callytics.schema.partitions import MONTHS
from callytics.settings import Settings
from callytics.trial.embedded import EmbeddedPostgres
from tests.support.filling import MONTHLY, fill
from tests.support.migrating import others_at_work, up

ROWS = 60_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(server: EmbeddedPostgres, template: Settings) -> Iterator[Settings]:
    """A database whose endless tables hold 60,000 rows each, the other tables 6,000."""
    tuned = replace(template, database="tuned")
    server.provide(tuned)
    up(tuned, "0007")
    connection = connect(tuned, owner=True)
    fill(connection, ROWS // 10, ROWS)
    run(
        connection,
        "update audio_files set processing_status = case when id % 100 = 0 then 'pending' else 'completed' end",
    )
    run(connection, "update utterances set text = '요금이 ' || id where id % 1000 = 0")
    run(connection, "update transcriptions set text_content = '요금제 ' || id where id % 1000 = 0")
    up(tuned)
    connection.autocommit = True
    run(connection, "vacuum analyze")
    connection.close()
    yield tuned
    superuser = psycopg2.connect(server.superuser_conninfo())
    superuser.autocommit = True
    run(superuser, "drop database tuned with (force)")
    superuser.close()


@pytest.fixture
def owner(settings: Settings) -> Iterator[Connection]:
    """A connection whose work is undone in the end, so that every test finds the rows where they were."""
    connection = connect(settings, owner=True)
    yield connection
    connection.rollback()
    connection.close()


def run(connection: Connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
    if not connection.autocommit:
        connection.commit()


def every(connection: Connection, query: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def ask(connection: Connection, query: str) -> object:
    return every(connection, query)[0][0]


def plan(connection: Connection, query: str) -> str:
    return "\n".join(line for (line,) in every(connection, f"explain (costs off) {query}"))  # type: ignore[misc]


QUERIES = {
    "audio_files_waiting_idx": (
        "select * from audio_files where processing_status = 'pending' order by upload_timestamp limit 20"
    ),
    "audio_files_upload_timestamp_idx": "select * from audio_files order by upload_timestamp desc limit 20",
    "audio_files_created_at_idx": "select * from audio_files order by created_at desc limit 20",
    "audio_files_file_path_idx": "select * from audio_files where file_path = 'file_path 7'",
    "audio_features_topic_id_idx": "select * from audio_features where topic_id = 7",
    "speaker_segments_audio_file_id_idx": "select * from speaker_segments where audio_file_id = 7 order by start_time",
    "transcriptions_default_audio_file_id_idx": "select * from transcriptions where audio_file_id = 7",
    "transcriptions_default_speaker_segment_id_idx": "select * from transcriptions where speaker_segment_id = 7",
    "transcriptions_default_pkey": "select * from transcriptions where id = 7",
    "processing_logs_default_audio_file_id_idx": "select * from processing_logs where audio_file_id = 7",
    "utterances_default_audio_file_id_idx": "select * from utterances where audio_file_id = 7 order by sequence",
    "utterances_default_audio_path_idx": "select * from utterances where audio_path = 'audio_path 7'",
    "agent_activity_logs_default_agent_id_idx": "select * from agent_activity_logs where agent_id = 7",
    "consultation_analysis_audio_path_idx": "select * from consultation_analysis where audio_path = 'audio_path 7'",
    "communication_quality_consultation_id_idx": "select * from communication_quality where consultation_id = 'c'",
    "consultation_sessions_agent_name_idx": "select * from consultation_sessions where agent_name = 'agent_name 7'",
    "consultation_sessions_session_date_idx": "select * from consultation_sessions where session_date = '2024-01-07'",
    "sentiment_timeline_session_id_idx": "select * from sentiment_trend_analysis where session_id = 7",
    "llm_analysis_session_id_idx": "select * from llm_analysis where session_id = 7 and analysis_type = 'summary'",
    "agent_performance_history_agent_id_idx": "select * from agent_performance_trends where agent_id = 7",
    "transcriptions_default_text_content_search_idx": (
        "select * from transcriptions "
        "where to_tsvector('simple', left(text_content, 100000)) @@ to_tsquery('simple', '요금:*')"
    ),
    "utterances_default_text_search_idx": (
        "select * from utterances where to_tsvector('simple', left(text, 100000)) @@ to_tsquery('simple', '요금:*')"
    ),
}


@pytest.mark.parametrize(("index", "query"), QUERIES.items(), ids=QUERIES)
def test_a_query_takes_its_index(owner: Connection, index: str, query: str) -> None:
    assert index in plan(owner, query)


@pytest.mark.parametrize(
    ("view", "where", "child"),
    [
        ("audio_processing_summary", "id = 7", "transcriptions_default_audio_file_id_idx"),
        ("audio_processing_summary", "id = 7", "speaker_segments_audio_file_id_idx"),
        ("enhanced_quality_summary", "session_id = 7", "customer_response_analysis_session_id_idx"),
        ("llm_analysis_summary", "id = 7", "llm_issue_detection_llm_analysis_id_idx"),
    ],
)
def test_one_row_of_a_view_reads_no_whole_table(owner: Connection, view: str, where: str, child: str) -> None:
    taken = plan(owner, f"select * from {view} where {where}")
    assert child in taken
    # The months to come are empty, which the planner knows.
    whole = [line for line in taken.splitlines() if "Seq Scan" in line]
    assert [line for line in whole if not re.search(r" on \w+_\d{4}_\d\d ", line)] == []


FOREIGN_KEYS = """
select f.conrelid::regclass::text, a.attname
from pg_constraint as f
join pg_attribute as a on a.attrelid = f.conrelid and a.attnum = f.conkey[1]
where f.contype = 'f' and f.connamespace = 'public'::regnamespace and not exists (
    select from pg_index as i where i.indrelid = f.conrelid and i.indkey[0] = f.conkey[1] and i.indpred is null
)
"""


def test_every_foreign_key_has_an_index(owner: Connection) -> None:
    """Without one, deleting a parent reads the whole child table."""
    assert every(owner, FOREIGN_KEYS) == []


def test_search_finds_a_word_whatever_particle_follows(owner: Connection) -> None:
    query = "select count(*) from {} where to_tsvector('simple', left({}, 100000)) @@ to_tsquery('simple', '요금:*')"
    assert ask(owner, query.format("utterances", "text")) == ROWS // 1000
    assert ask(owner, query.format("transcriptions", "text_content")) == ROWS // 1000


@pytest.mark.parametrize("column", ["file_path", "processing_status", "error_message"])
def test_an_index_refuses_no_long_text(owner: Connection, column: str) -> None:
    """A btree takes no value above 2,704 bytes; SQLite took anything."""
    text = "(select string_agg(md5(g::text), ' ') from generate_series(1, 100000) as g)"
    every(owner, f"insert into audio_files (file_name, {column}) values ('a', {text}) returning id")


def test_search_refuses_no_long_text(owner: Connection) -> None:
    """A tsvector takes no more than 1 MB."""
    text = "(select string_agg(md5(g::text), ' ') from generate_series(1, 100000) as g)"
    every(owner, f"insert into utterances (text) values ({text}) returning id")


def test_rows_move_into_their_months(owner: Connection) -> None:
    before = every(owner, "select count(*), sum(id), sum(hashtext(t::text)) from transcriptions as t")
    assert ask(owner, "select ensure_month_partitions('transcriptions', '2024-01-15', '2024-03-01')") == 3
    assert ask(owner, "select ensure_month_partitions('transcriptions', '2024-01-01', '2024-03-31')") == 0
    assert every(owner, "select count(*), sum(id), sum(hashtext(t::text)) from transcriptions as t") == before
    months = "select tableoid::regclass::text, min(created_at) >= '2024-02-01 UTC', max(created_at) < '2024-03-01 UTC'"
    assert every(owner, f"{months} from transcriptions_2024_02 group by 1") == [("transcriptions_2024_02", True, True)]
    assert ask(owner, "select count(*) from transcriptions_default where created_at < '2024-04-01 UTC'") == 0


def test_a_row_without_a_date_survives_in_the_default_partition(owner: Connection) -> None:
    every(owner, "select ensure_month_partitions('utterances', '2024-01-01', '2024-06-01')")
    left = "select count(*) filter (where created_at is null), count(*) filter (where created_at = 'infinity') from "
    assert every(owner, left + "utterances_default") == every(owner, left + "utterances") == [(ROWS // 50, 1)]
    assert ask(owner, "select count(*) from utterances_default") == ROWS // 50 + 1


def test_a_month_alone_is_read(owner: Connection) -> None:
    every(owner, "select ensure_month_partitions('processing_logs', '2024-01-01', '2024-05-01')")
    query = "select count(*) from processing_logs where created_at between '2024-03-05 UTC' and '2024-03-09 UTC'"
    taken = plan(owner, query)
    assert "processing_logs_2024_03" in taken
    assert not any(other in taken for other in ("_default", "_2024_01", "_2024_02", "_2024_04", "_2024_05"))


def test_the_months_of_recent_activities_alone_are_read(owner: Connection) -> None:
    """agent_summary_view knows only at run time which thirty days are the last."""
    every(owner, "select ensure_month_partitions('agent_activity_logs', '2024-01-01', '2024-05-01')")
    every(owner, "select keep_partitions_ahead(1)")
    taken = "\n".join(
        line
        for (line,) in every(owner, "explain (analyze, costs off, timing off) select * from agent_summary_view")  # type: ignore[misc]
    )
    assert "Subplans Removed" in taken
    assert "agent_activity_logs_2024_01" not in taken


def test_a_month_is_like_its_table(owner: Connection) -> None:
    """Key, foreign keys, indexes, checks and comment; a foreign key that orphans keep from being valid stays so."""
    key = "transcriptions_default_speaker_segment_id_fkey"
    with owner.cursor() as cursor:
        cursor.execute(f"alter table transcriptions_default drop constraint {key}")
        cursor.execute(
            f"alter table transcriptions_default add constraint {key} "
            "foreign key (speaker_segment_id) references speaker_segments (id) on delete cascade not valid"
        )
    every(owner, "select ensure_month_partitions('transcriptions', '2024-01-01', '2024-01-01')")
    described = """
        select replace(conname, 'default', '2024_01'), pg_get_constraintdef(oid), convalidated
        from pg_constraint where conrelid = '{}'::regclass order by 1
    """
    default = every(owner, described.format("transcriptions_default"))
    assert every(owner, described.format("transcriptions_2024_01")) == default
    assert ("transcriptions_2024_01_speaker_segment_id_fkey", False) in [(row[0], row[2]) for row in default]
    counted = "select count(*), bool_and(indisvalid) from pg_index where indrelid = '{}'::regclass"
    assert every(owner, counted.format("transcriptions_2024_01")) == every(
        owner, counted.format("transcriptions_default")
    )


def test_months_ahead_are_kept_for_every_endless_table(owner: Connection) -> None:
    assert ask(owner, f"select keep_partitions_ahead({MONTHS})") == 0, "the migrations have made them"
    assert ask(owner, f"select keep_partitions_ahead({MONTHS + 3})") == 3 * len(MONTHLY)
    assert ask(owner, f"select keep_partitions_ahead({MONTHS + 3})") == 0
    assert ask(owner, f"select keep_partitions_ahead({MONTHS + 4})") == len(MONTHLY)
    with owner.cursor() as cursor:
        cursor.execute("insert into utterances (text) values ('a') returning tableoid::regclass::text")
        assert cursor.fetchone() == (ask(owner, "select to_char(now() at time zone 'UTC', '\"utterances_\"YYYY_MM')"),)


def test_a_table_that_has_no_months_and_too_many_months_are_refused(owner: Connection) -> None:
    with pytest.raises(psycopg2.errors.RaiseException, match="not partitioned by month"):
        every(owner, "select ensure_month_partitions('audio_files', '2024-01-01', '2024-01-01')")
    owner.rollback()
    with pytest.raises(psycopg2.errors.RaiseException, match="1200"):
        every(owner, "select ensure_month_partitions('utterances', '0001-01-01', '2024-01-01')")


def test_readers_do_not_wait_while_rows_move(settings: Settings, owner: Connection) -> None:
    with others_at_work(settings, "select count(*) from agent_activity_logs where id = 7") as waits:
        every(owner, "select ensure_month_partitions('agent_activity_logs', '2024-01-01', '2024-05-01')")
        owner.rollback()
    print(f"longest wait of a reader {waits.reader:.3f} s, longest lock {waits.locked:.3f} s")  # noqa: T201
    assert waits.reader < 2
    assert waits.locked < 2
