"""With its optional index search finds Korean words inside others, in the same order as a plain reading of all rows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from callytics.calls import MultiDatabaseManager
from callytics.postgres import PostgreSQLManager, connect
from callytics.schema import optional
from callytics.settings import Settings
from tests.support.searching import FILL, SAID, VISIBLE, Explaining, all_pages, indexes, rows_read, scanned

OPTIONAL = "search-inside-words"
# Compounds of which some stand in parts (NFD), in transcriptions and in utterances that know their recording by id or
# by path, beside words that only share syllables with them.
COMPOUNDS = """
insert into transcriptions (audio_file_id, text_content, start_time, end_time, created_at)
select
    n, case when n % 4 = 0 then normalize('소액결제가 안 돼요 ', nfd) when n % 4 = 1 then '재환불요청 ' else '' end
    || '결과는 제때 ' || n, 20, 21,
    case when n % 13 > 0 then timestamptz '2025-01-05Z' + n / 7 * interval '1 day' end
from generate_series(1, 300) as n
where n % 3 < 2;

insert into utterances (audio_file_id, audio_path, text, start_time, end_time, created_at)
select
    case when n % 2 = 0 then n end, case when n % 2 = 1 then '/calls/' || n % 290 end,
    case when n % 5 = 0 then '정기결제일 ' when n % 5 = 1 then '환불불가 Callcenter ' else '결 제 ' end || n, 20, 21,
    case when n % 13 > 0 then timestamptz '2025-01-05Z' + n / 7 * interval '1 day' end
from generate_series(1, 300) as n
where n % 3 > 0;
"""
INSIDE = "normalize(text) like '%%{}%%'"
WORDS = "to_tsvector('simple', text) @@ '{}'"
SEARCHES = {
    "결제": INSIDE.format("결제"),
    "환불": INSIDE.format("환불"),
    "불요청": INSIDE.format("불요청"),
    "소액 제가": f"{INSIDE.format('소액')} and {INSIDE.format('제가')}",
    "환불 불가": f"{INSIDE.format('환불')} and {INSIDE.format('불가')}",
    "환불 7": f"{INSIDE.format('환불')} and {WORDS.format('7:*')}",
    "네": WORDS.format("네:*"),
    "결": WORDS.format("결:*"),
    "center": WORDS.format("center:*"),
    "callc": WORDS.format("callc:*"),
    '"환불이 말"': WORDS.format("환불이:* <-> 말:*"),
    '"말 환불"~0': f"({WORDS.format('환불:* <-> 말:*')} or {WORDS.format('말:* <-> 환불:*')})",
    '환불 "2 말"~1': f"{INSIDE.format('환불')} and {WORDS.format('말:* <-> 2:*')}",
    '"환불 말"': WORDS.format("환불:* <-> 말:*"),
}
CALLS = """
select id
from audio_files as f
where exists (select from transcriptions as t where t.audio_file_id = f.id and {said_t})
    or exists (
        select from utterances as u
        where (u.audio_file_id = f.id or u.audio_file_id is null and u.audio_path = f.file_path)
            and {said_u}
            and not exists (select from transcriptions as t where t.audio_file_id = f.id)
    )
order by coalesce(created_at, '-infinity') desc, id desc
"""


@pytest.fixture(scope="module")
def calls(shared_database: Settings) -> Iterator[MultiDatabaseManager]:
    connection = connect(shared_database, owner=True)
    with connection, connection.cursor() as cursor:
        cursor.execute(FILL + COMPOUNDS)
    connection.close()
    with PostgreSQLManager(shared_database) as postgres:
        assert optional.add(shared_database, OPTIONAL, report=print) == [OPTIONAL]
        yield MultiDatabaseManager(postgres)


def said(calls: MultiDatabaseManager, condition: str) -> list[tuple[int, int]]:
    """Return what a plain reading of all rows finds."""
    query = SAID.replace("to_tsvector('simple', text) @@ %s::tsquery", condition)
    return [(row["source"], row["id"]) for row in calls.postgres.execute_query(query, ())]


def those_that_say(calls: MultiDatabaseManager, condition: str) -> list[int]:
    """Return the recordings that a plain reading of all rows finds."""
    text = {"said_t": condition.replace("text", "t.text_content"), "said_u": condition.replace("text", "u.text")}
    return [row["id"] for row in calls.postgres.execute_query(CALLS.format(**text), ())]


@pytest.mark.parametrize("limit", [3, 50, 500])
@pytest.mark.parametrize("search", SEARCHES)
def test_pages_hold_all_hits_in_order(calls: MultiDatabaseManager, search: str, limit: int) -> None:
    expected = said(calls, SEARCHES[search])
    found = all_pages(calls.search_transcripts, limit, query=search)
    assert [(row["source_number"], row["id"]) for row in found] == expected
    assert bool(expected) is (search != "center")
    expected_calls = those_that_say(calls, SEARCHES[search])
    assert [row["id"] for row in all_pages(calls.find_calls, limit, search=search)] == expected_calls
    decomposed = unicodedata.normalize("NFD", search)
    assert calls.search_transcripts(decomposed, limit=limit).rows == found[:limit]


@pytest.mark.parametrize("agents", [["few"], ["many"], ["agent 1", "few", "nobody"], ["nobody"]], ids=str)
@pytest.mark.parametrize("search", ["결제", "환불 7", "불요청"])
def test_whoever_sees_some_calls_finds_all_hits_in_them(
    calls: MultiDatabaseManager, agents: list[str], search: str
) -> None:
    scoped = calls.seen_by(agents)
    visible = {row["id"] for row in calls.postgres.execute_query(VISIBLE, {"agents": agents})}
    everything = all_pages(calls.search_transcripts, 500, query=search)
    found = all_pages(scoped.search_transcripts, 2, query=search)
    assert found == [row for row in everything if row["audio_file_id"] in visible]
    expected = [call for call in those_that_say(calls, SEARCHES[search]) if call in visible]
    assert [row["id"] for row in all_pages(scoped.find_calls, 2, search=search)] == expected
    assert search != "결제" or bool(found) is (agents != ["nobody"])


def test_a_compound_is_marked_as_a_whole(calls: MultiDatabaseManager) -> None:
    rows = all_pages(calls.search_transcripts, 500, query="결제", snippets=True)
    marked = {unicodedata.normalize("NFC", row["snippet"]).partition("»")[0] for row in rows}
    assert marked == {"«소액결제가", "«정기결제일"}


def test_without_the_index_words_are_found_by_their_beginnings(
    calls: MultiDatabaseManager, shared_database: Settings
) -> None:
    with_it = calls.count_transcripts("환불").rows
    assert optional.take_back(shared_database, OPTIONAL, report=print) == [OPTIONAL]
    try:
        assert calls.search_transcripts("결제").rows == []
        begun = said(calls, WORDS.format("환불:*"))
        found = all_pages(calls.search_transcripts, 50, query="환불")
        assert [(row["source_number"], row["id"]) for row in found] == begun
        assert 0 < len(begun) < with_it
    finally:
        assert optional.add(shared_database, OPTIONAL, report=print) == [OPTIONAL]
    assert calls.count_transcripts("환불").rows == with_it


def test_a_page_reads_few_rows_by_the_index(shared_database: Settings, calls: MultiDatabaseManager) -> None:
    many = """
        insert into transcriptions (audio_file_id, text_content, start_time, end_time, created_at)
        select 1, case when n % 4000 = 0 then '무통장입금 ' else '결제 ' end || n, n, n,
            timestamptz '2024-01-05Z' + n * interval '1 minute'
        from generate_series(30, 40000) as n
    """
    with closing(connect(shared_database, owner=True)) as owner, owner.cursor() as cursor:
        owner.autocommit = True
        cursor.execute(many)
        cursor.execute("vacuum (analyze)")
    with Explaining(shared_database) as postgres:
        postgres.plans = []
        asked = MultiDatabaseManager(postgres)
        assert len(asked.search_transcripts("장입").rows) == 10
        used = indexes(postgres.plans)
        assert any("syllable_pairs" in name for name in used), used
        assert max(map(rows_read, postgres.plans)) < 14_000
        postgres.plans.clear()
        page: list[dict[str, Any]] = asked.search_transcripts("결제").rows
        assert len(page) == 50
        assert scanned(postgres.plans) == set()
        assert max(map(rows_read, postgres.plans)) <= 14_000
