-- Goes back to imports that reject what is there already. Shared rows become rejected ones, and the record of what they
-- share is put aside.
set local lock_timeout = '3s';

insert into imports.rejected (table_id, source_table, source_rowid, reason, source_row)
select s.table_id, t.source_table, s.source_rowid, 'the same row is there already', s.source_row
from imports.shared as s
join imports.tables as t on t.id = s.table_id
on conflict (table_id, source_rowid) do nothing;

update imports.runs set status = 'rejects'
where status = 'verified' and id in (
        select f.run_id
        from imports.shared as s
        join imports.tables as t on t.id = s.table_id
        join imports.sources as f on f.id = t.source_id
    );

drop view if exists import_summaries;

update imports.chunks set rejected = rejected + shared
where shared > 0;
alter table imports.chunks drop column if exists shared;
alter table imports.rejected drop column if exists conflicting_id;

do $$
begin
    if to_regclass('imports.shared') is not null then
        alter table imports.shared rename to shared_rolled_back;
    end if;
end
$$;

create view import_summaries as
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

call grant_to_callytics_roles();
