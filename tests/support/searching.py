"""Calls to search in, what a plain reading of all rows finds, and what a query read of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from callytics.calls.finding.paging import Page
from callytics.postgres import PostgreSQLManager

# Moments that many rows share, months without a row, rows without a moment or of the first year, the same ids in both
# tables, recordings with transcriptions only, with utterances only (by id or by path), and with every sentence twice.
FILL = """
insert into audio_files (id, file_path, file_name, created_at)
select
    n, '/calls/' || n % 290, n || '.wav',
    case when n % 17 > 0 then timestamptz '2025-01-05Z' + n / 5 * interval '1 day' end
from generate_series(1, 300) as n;

insert into transcriptions (audio_file_id, text_content, start_time, end_time, created_at)
select
    n, case when line % 2 = 0 then '네 ' else '' end || case when n % 50 = 0 then '환불이 ' else '' end || '말 ' || n,
    line, line,
    case when n % 13 > 0 then timestamptz '2025-01-05Z' + n / 7 * interval '1 day' end
from generate_series(1, 300) as n, generate_series(1, 4) as line
where n % 3 < 2;

insert into utterances (audio_file_id, audio_path, text, start_time, end_time, created_at)
select
    case when n % 2 = 0 then n end, case when n % 2 = 1 then '/calls/' || n % 290 end,
    case when line % 2 = 0 then '네 ' else '' end || case when n % 50 = 0 then '환불이 ' else '' end || '말 ' || n,
    line, line,
    case when n % 13 > 0 then timestamptz '2025-01-05Z' + n / 7 * interval '1 day' end
from generate_series(1, 300) as n, generate_series(1, 4) as line
where n % 3 > 0;

insert into transcriptions (audio_file_id, text_content, start_time, end_time, created_at)
values
(3, '고대 말', 9, 9, '0001-12-30'), (3, '중세 네', 9, 9, '1443-12-30'),
(3, '오늘 요금제 변경 환불', 9, 9, '2025-03-01'),
(4, '요금제 오늘 변경', 9, 9, '2025-03-01'), (6, '환불 요금제 변경이', 9, 9, null);

insert into consultation_sessions (audio_file_id, session_date, duration_minutes, agent_name)
select n, '2025-01-05', 1, case when n % 4 = 0 then 'many' when n = 7 then 'few' else 'agent ' || n % 5 end
from generate_series(1, 300) as n
where n % 11 > 0;
insert into consultation_sessions (audio_file_id, session_date, duration_minutes, agent_name)
values (4, '2025-01-05', 1, 'few');

select ensure_month_partitions('transcriptions', '2025-01-01', '2025-02-01');
select ensure_month_partitions('utterances', '2025-02-01', '2025-03-01');
"""
SAID = """
with said as (
    select 2 as source, id, audio_file_id, null as audio_path, text_content as text, created_at from transcriptions
    union all
    select 1, id, audio_file_id, audio_path, text, created_at
    from utterances as u
    where not exists (select from transcriptions as t where t.audio_file_id = u.audio_file_id)
        and not exists (
            select
            from transcriptions as t
            join audio_files as f on f.id = t.audio_file_id
            where u.audio_file_id is null and f.file_path = u.audio_path
        )
)
select source, id
from said
where to_tsvector('simple', text) @@ %s::tsquery
order by coalesce(created_at, '-infinity') desc, id desc, source desc
"""
VISIBLE = "select audio_file_id as id from consultation_sessions where agent_name = any(%(agents)s)"
# Tables that grow with the calls; months are named after them.
BIG = re.compile(r"(audio_files|transcriptions|utterances|consultation_sessions|communication_quality)(_default|_\d+)*")


def all_pages(find: Callable[..., Page], limit: int, **filters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page = find(limit=limit, after=after, **filters)
        assert len(page.rows) == limit or page.next is None
        rows += page.rows
        after = page.next
        if after is None:
            return rows


class Explaining(PostgreSQLManager):
    """A manager that keeps the plan of every query, and how long it took."""

    plans: list[dict[str, Any]]

    def execute_query(self, query: Any, params: Any = None, fetch: Any = "all") -> Any:  # type: ignore[override]
        if isinstance(query, str) and query.startswith("set "):
            return super().execute_query(query, params, fetch)
        with self.transaction() as connection, connection.cursor() as cursor:
            text = query if isinstance(query, str) else query.as_string(connection)
            cursor.execute(f"explain (format json, analyze, timing off) {text}", params)
            found = cursor.fetchone()
            assert found is not None
            self.plans.append(found[0][0])
        return super().execute_query(query, params, fetch)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def scanned(plans: list[dict[str, Any]]) -> set[str]:
    """Return the big tables that were read from beginning to end."""
    found = (node for plan in plans for node in nodes(plan["Plan"]))
    return {
        node["Relation Name"]
        for node in found
        if node["Node Type"] == "Seq Scan"
        and BIG.fullmatch(node["Relation Name"])
        and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > 0
    }


def indexes(plans: list[dict[str, Any]]) -> set[str]:
    """Return the indexes that were used, of a month as if it were its table's own."""
    names = {node.get("Index Name", "") for plan in plans for node in nodes(plan["Plan"]) if node["Actual Loops"]}
    return {re.sub(r"_(\d{4}_\d\d|default)_", "_", name) for name in names}


def rows_read(plan: dict[str, Any]) -> int:
    """Return how many rows a query took from tables, those too that it threw away."""
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return sum(
        node["Actual Loops"] * (node["Actual Rows"] + sum(node.get(kind, 0) for kind in removed))
        for node in nodes(plan["Plan"])
        if "Relation Name" in node
    )
