-- Rows of a file that are in their table already, as the codes of a second installation are: counted apart, not rejected.
-- What stands in the way of a rejected row is on record, too.
-- depends: 0061.login-places

set local lock_timeout = '3s';

alter table imports.chunks add column if not exists shared bigint not null default 0;
comment on column imports.chunks.shared is 'Rows that their table had already, equal: see imports.shared';

alter table imports.rejected add column if not exists conflicting_id bigint;
comment on column imports.rejected.conflicting_id is
    'The row of the target that has the same unique key, as it was when this one was rejected; NULL where there is none';

do $$
begin
    if to_regclass('imports.shared_rolled_back') is not null then
        alter table imports.shared_rolled_back rename to shared;
    end if;
end
$$;

create table if not exists imports.shared (
    table_id bigint not null references imports.tables (id) on delete cascade,
    source_rowid bigint not null,
    target_id bigint not null,
    source_row jsonb not null,
    target_row jsonb not null,
    primary key (table_id, source_rowid)
);
comment on table imports.shared is
    'Rows of a file that their table had already, equal but for the id and the time of creation: both imports share the one row';
comment on column imports.shared.target_id is 'The id of the row that was there';
comment on column imports.shared.source_row is 'The whole row of the file, encoded as in imports.rejected';
comment on column imports.shared.target_row is
    'The row as it would have been loaded, with its own id: what the table gets where the other import is undone';

create index if not exists shared_target_id_idx on imports.shared (target_id);

-- What a rollback has put among the rejected rows, unless the file was caught up with since.
with back as (
    delete from imports.rejected as r using imports.shared as s
    where r.table_id = s.table_id and r.source_rowid = s.source_rowid
    returning r.table_id, r.source_rowid
),
counted as (
    select c.table_id, c.first_rowid, count(*) as rows
    from back as b
    join imports.chunks as c on c.table_id = b.table_id and b.source_rowid between c.first_rowid and c.last_rowid
    group by c.table_id, c.first_rowid
)
update imports.chunks as c set shared = n.rows, rejected = c.rejected - n.rows
from counted as n
where c.table_id = n.table_id and c.first_rowid = n.first_rowid and c.shared = 0;

update imports.runs as r set status = 'verified'
where status = 'rejects' and not exists (
        select from imports.rejected as j
        join imports.tables as t on t.id = j.table_id
        join imports.sources as s on s.id = t.source_id
        where s.run_id = r.id
    );

-- The name on a line of its own: whether a migration is in is told by what it creates, and this one is only replaced.
create or replace view
import_summaries as
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
    t.different_rows,
    coalesce(c.shared, 0) as shared
from imports.runs as r
left join imports.sources as s on s.run_id = r.id
left join imports.tables as t on t.source_id = s.id
left join lateral (
    select
        sum(copied + inserted)::bigint as loaded, sum(rejected)::bigint as rejected, sum(shared)::bigint as shared
    from imports.chunks
    where table_id = t.id
) as c on true;

call grant_to_callytics_roles();
