-- What the application may know of imports, for its status page: verdicts and counts, but none of the rows that imports.rejected keeps.
-- A view reads with its owner's rights, so that callytics_user needs none in the schema imports.
-- depends: 0052.index-newest-calls

set local lock_timeout = '3s';

create or replace view import_summaries as
select
    r.id as import,
    r.status as verdict,
    r.version,
    r.started_at,
    r.finished_at,
    s.path as file,
    t.source_table,
    t.target_table,
    t.source_rows,
    coalesce(c.loaded, 0) as loaded,
    coalesce(c.rejected, 0) as rejected,
    t.verified_rows,
    t.different_rows
from imports.runs as r
left join imports.sources as s on s.run_id = r.id
left join imports.tables as t on t.source_id = s.id
left join lateral (
    select sum(copied + inserted)::bigint as loaded, sum(rejected)::bigint as rejected
    from imports.chunks
    where table_id = t.id
) as c on true;

comment on view import_summaries is 'Imports, a row for each table of each file: verdict and counts';
