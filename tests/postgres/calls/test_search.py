"""Search finds what a plain reading of all rows finds, in the same order, page after page, whatever the windows are."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator

import pytest

from callytics.calls import MultiDatabaseManager
from callytics.calls.finding import seen
from callytics.calls.finding.paging import MOST as COUNTED
from callytics.calls.finding.paging import Count
from callytics.calls.finding.words import read_words
from callytics.exceptions import InvalidSearch
from callytics.postgres import PostgreSQLManager, connect
from callytics.settings import Settings
from tests.support.searching import FILL, SAID, VISIBLE, all_pages

CALLS = """
select id
from audio_files as f
where exists (
        select
        from transcriptions as t
        where t.audio_file_id = f.id and to_tsvector('simple', t.text_content) @@ %(query)s
    )
    or exists (
        select from utterances as u
        where (u.audio_file_id = f.id or u.audio_file_id is null and u.audio_path = f.file_path)
            and to_tsvector('simple', u.text) @@ %(query)s
            and not exists (select from transcriptions as t where t.audio_file_id = f.id)
    )
order by coalesce(created_at, '-infinity') desc, id desc
"""


@pytest.fixture(scope="module")
def calls(shared_database: Settings) -> Iterator[MultiDatabaseManager]:
    connection = connect(shared_database, owner=True)
    with connection, connection.cursor() as cursor:
        cursor.execute(FILL)
    connection.close()
    with PostgreSQLManager(shared_database) as postgres:
        yield MultiDatabaseManager(postgres)


# A page of few rows makes windows of few rows: all kinds of them are walked.
@pytest.mark.parametrize(
    ("search", "query", "limit"),
    [
        ("네", "'네':*", 7),
        ("네", "'네':*", 50),
        ("네", "'네':*", 500),
        ("말 7", "'말':* & '7':*", 1),
        ("말 7", "'말':* & '7':*", 50),
        ("환불", "'환불':*", 1),
        ("환불", "'환불':*", 7),
        ("중세", "'중세':*", 1),
        ("고대", "'고대':*", 1),
        ("고대", "'고대':*", 50),
    ],
)
def test_pages_hold_all_hits_in_order(calls: MultiDatabaseManager, search: str, query: str, limit: int) -> None:
    expected = [tuple(row.values()) for row in calls.postgres.execute_query(SAID, (query,))]
    found = all_pages(calls.search_transcripts, limit, query=search)
    assert [(row["source_number"], row["id"]) for row in found] == expected != []
    expected_calls = [row["id"] for row in calls.postgres.execute_query(CALLS, {"query": query})]
    assert [row["id"] for row in all_pages(calls.find_calls, limit, search=search)] == expected_calls != []
    of_one_path = [row["id"] for row in all_pages(calls.find_calls, limit, search=search, path="/calls/8")]
    assert of_one_path == [call for call in expected_calls if call in (8, 298)]


PLAIN_SCOPE = f"""
with visible as ({VISIBLE}),
said as (
    select 2 as source, id, audio_file_id, text_content as text, created_at from transcriptions
    union all
    select
        1, id, coalesce(audio_file_id, (
            select f.id from audio_files as f where f.file_path = u.audio_path
            order by coalesce(f.created_at, '-infinity') desc, f.id desc limit 1
        )), text, created_at
    from utterances as u
    where not exists (
        select from transcriptions as t
        join audio_files as f on f.id = t.audio_file_id
        where t.audio_file_id = u.audio_file_id or u.audio_file_id is null and f.file_path = u.audio_path
    )
)
select source, id
from said
where to_tsvector('simple', text) @@ %(query)s::tsquery and audio_file_id in (select id from visible)
order by coalesce(created_at, '-infinity') desc, id desc, source desc
"""


@pytest.mark.parametrize("agents", [["few"], ["many"], ["agent 1", "few", "nobody"], ["nobody"], []], ids=str)
@pytest.mark.parametrize(
    ("search", "query", "limit"),
    [
        ("네", "'네':*", 7),
        ("말 7", "'말':* & '7':*", 1),
        ("환불", "'환불':*", 2),
        ("고대", "'고대':*", 50),
        ("말", "'말':*", 50),
    ],
)
@pytest.mark.parametrize(
    "bounds",
    [{}, *(pytest.param(one, marks=pytest.mark.slow) for one in ({"FEW": 0}, {"MOST": 1}, {"RARE": 1.0, "FEW": 0}))],
    ids=str,
)
def test_whoever_sees_some_calls_finds_all_hits_in_them(
    calls: MultiDatabaseManager,
    monkeypatch: pytest.MonkeyPatch,
    agents: list[str],
    search: str,
    query: str,
    limit: int,
    bounds: dict[str, float],
) -> None:
    """Whether their recordings are few, many, or too many to be looked up."""
    for name, value in bounds.items():
        monkeypatch.setattr(seen, name, value)
    scoped = calls.seen_by(agents)
    values = {"query": query, "agents": agents}
    expected = [tuple(row.values()) for row in calls.postgres.execute_query(PLAIN_SCOPE, values)]
    found = all_pages(scoped.search_transcripts, limit, query=search)
    assert [(row["source_number"], row["id"]) for row in found] == expected
    visible = {row["id"] for row in calls.postgres.execute_query(VISIBLE, values)}
    assert {row["id"] for row in all_pages(scoped.find_calls, limit)} == visible
    expected_calls = calls.postgres.execute_query(CALLS, {"query": query})
    found_calls = [row["id"] for row in all_pages(scoped.find_calls, limit, search=search)]
    assert found_calls == [row["id"] for row in expected_calls if row["id"] in visible]


def test_words_in_quotes_follow_each_other(calls: MultiDatabaseManager) -> None:
    def found(query: str) -> set[int]:
        return {row["audio_file_id"] for row in calls.search_transcripts(query).rows}

    assert found("요금제 변경") == {3, 4, 6}
    assert found('"요금제 변경"') == {3, 6}
    assert found('"요금제 변경" 오늘') == {3}
    assert found('"변경 환불" "요금제 변경"') == {3}
    assert found('"변경 요금제"') == found('"요금제 변경" "오늘 변경"') == set()
    assert found('"요금제 변경') == {3, 4, 6}
    assert found('"" "요금제" "') == {3, 4, 6}


def test_words_in_quotes_with_a_distance_are_near_each_other(calls: MultiDatabaseManager) -> None:
    def found(query: str) -> set[int]:
        said = calls.search_transcripts(query, snippets=True).rows
        assert all("«" in row["snippet"] for row in said)
        ids = {row["audio_file_id"] for row in said}
        assert {row["id"] for row in calls.find_calls(search=query).rows} == ids
        assert calls.search_transcripts(unicodedata.normalize("NFD", query), snippets=True).rows == said
        return ids

    assert found('"요금제 변경"~0') == found('"변경 요금제"~0') == {3, 6}
    assert found('"요금제 변경"~1') == found('"변경 요금"~1') == {3, 4, 6}
    assert found('"오늘 환불"~1') == set()
    assert found('"오늘 환불"~2') == found('"환불 오늘"~2') == {3}
    assert found('"환불 변경 요금제"~0') == {3}
    assert found('"환불 변경 요금제"~1') == found('"변경 환불"~1 "요금제 변경"') == {3, 6}
    assert found('"환불 변경 요금제"~1 오늘') == {3}
    assert found('"요금제"~1 변경') == found('"요금제 변경"~99999999999999999999 변경') == {3, 4, 6}
    assert found('"요금제 변경"~') == found('"요금제 변경" ~ ""~3') == {3, 6}


def test_near_means_what_a_reader_would_count(calls: MultiDatabaseManager) -> None:
    words = ["갈매기", "나그네", "다람쥐", "art"]
    draw = random.Random(11)
    sentences = [" ".join(draw.choice([*words, "또", "x"]) for _ in range(draw.randint(2, 14))) for _ in range(120)]
    insert = "insert into transcriptions (audio_file_id, text_content, start_time, end_time) values (9, %s, %s, %s)"

    def near(sentence: str, one: str, other: str, between: int) -> bool:
        places = [(at, word) for at, word in enumerate(sentence.split()) if word in (one, other)]
        return any(a == one and b == other and 0 < abs(i - j) <= between + 1 for i, a in places for j, b in places)

    try:
        for number, sentence in enumerate(sentences):
            calls.postgres.execute_query(insert, (sentence, 100 + number, 100 + number), fetch="none")
        for between in (0, 1, 3, 10):
            for one, other in (("갈매기", "나그네"), ("다람쥐", "갈매기"), ("art", "다람쥐"), ("art", "art")):
                expected = sorted(s for s in sentences if near(s, one, other, between))
                found = calls.search_transcripts(f'"{one[:2]} {other}"~{between}', limit=500).rows
                assert sorted(row["text"] for row in found) == expected != []
                if between < 10:
                    assert len(expected) < len(sentences)
    finally:
        calls.postgres.execute_query(
            "delete from transcriptions where audio_file_id = 9 and start_time >= 100", fetch="none"
        )


@pytest.mark.parametrize("search", ["네", "환불 요금제 7", '"요금제 변경" 환불 "오늘 변경"~3', "?!"])
def test_words_are_read_by_one_question(calls: MultiDatabaseManager, search: str) -> None:
    before = calls.postgres.statistics().queries
    read_words(calls.postgres, search)
    assert calls.postgres.statistics().queries == before + 1


@pytest.mark.parametrize("form", ["{}", '"{}"', '"{}"~3'])
def test_so_many_words_are_refused_that_a_search_would_take_a_minute(calls: MultiDatabaseManager, form: str) -> None:
    assert calls.search_transcripts(form.format(" ".join(f"말{n}" for n in range(32)))).rows == []
    refused = "^what is looked for must have at most 32 words, not 33$"
    for search in (calls.search_transcripts, lambda text: calls.find_calls(search=text)):
        with pytest.raises(InvalidSearch, match=refused):
            search(form.format(" ".join(f"말{n}" for n in range(33))))
    with pytest.raises(InvalidSearch, match=refused):
        calls.search_transcripts(f'"{"말 " * 33}"')


def test_decomposed_hangul_finds_what_composed_does(calls: MultiDatabaseManager) -> None:
    decomposed = unicodedata.normalize("NFD", "환불")
    assert decomposed != "환불"
    assert calls.search_transcripts(decomposed) == calls.search_transcripts("환불")
    assert calls.search_transcripts("환불").rows


def test_what_is_stored_decomposed_is_found_like_what_is_composed(calls: MultiDatabaseManager) -> None:
    """Imports keep every text as it is, and what was typed on macOS or comes from its files is in parts."""
    insert = "insert into transcriptions (audio_file_id, text_content, start_time, end_time) values (9, %s, 9, 10)"
    with calls.postgres.transaction():
        calls.postgres.execute_query(insert, (unicodedata.normalize("NFD", "해약금이 얼마죠"),), fetch="none")
        for written in ("해약금", unicodedata.normalize("NFD", "해약금"), '"해약금이 얼마"', "얼마 해약금"):
            [row] = calls.search_transcripts(written, snippets=True).rows
            assert row["audio_file_id"] == 9
            assert "«" in row["snippet"]
            assert [call["id"] for call in calls.find_calls(search=written).rows] == [9]
        assert calls.search_transcripts("해약서").rows == []
        calls.postgres.execute_query(
            "delete from transcriptions where audio_file_id = 9 and start_time = 9", fetch="none"
        )


def test_a_count_is_exact_up_to_its_bound(calls: MultiDatabaseManager) -> None:
    everything = len(calls.postgres.execute_query(SAID, ("'네':*",)))
    assert everything > COUNTED
    assert calls.count_transcripts("네") == Count(COUNTED, exact=False)
    for search, query in (("환불", "'환불':*"), ("고대", "'고대':*"), ("nothing", "'nothing':*")):
        rows = len(calls.postgres.execute_query(SAID, (query,)))
        assert calls.count_transcripts(search) == Count(rows, exact=True)
        rows = len(calls.postgres.execute_query(CALLS, {"query": query}))
        assert calls.count_calls(search=search) == Count(rows, exact=True)
    assert calls.count_calls() == Count(300, exact=True)
    assert calls.seen_by(["few"]).count_calls() == Count(2, exact=True)
