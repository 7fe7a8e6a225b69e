-- What belongs to a person: found in temporary tables of keys, then deleted or masked. {…} are identifiers.

-- name: bounded
-- For how long a statement waits for a lock, and makes others wait behind it.
select set_config('lock_timeout', %(time)s, true)

-- name: calls_there
select id
from audio_files
where id = any(%(ids)s::bigint[])
order by id

-- name: same_recording
-- Other calls that are analyses of the same recordings.
select distinct other.id
from audio_files as one
join audio_files as other on other.file_path = one.file_path and other.id <> all(%(ids)s::bigint[])
where one.id = any(%(ids)s::bigint[]) and one.file_path <> ''
order by other.id

-- name: paths_of
select distinct file_path
from audio_files
where id = any(%(ids)s::bigint[]) and file_path <> ''

-- name: erased_before
-- When calls were erased that are not there.
select call, max(e.erased_at)
from unnest(%(ids)s::bigint[]) as call
left join imports.erasures as e on e.kind = 'call' and e.subjects @> array[call]
group by call
order by call

-- name: account
-- An account by its name, exactly as typed or the only one that reads alike, or by the full name of its profile.
select
    a.id,
    a.username,
    p.id as profile,
    p.full_name
from agent_accounts as a
left join agent_profiles as p on p.account_id = a.id
where a.id = account_named(%(username)s, %(folded)s)
    or (
        account_named(%(username)s, %(folded)s) is null
        and normalize(p.full_name, nfc) = normalize(%(name)s, nfc)
    )
order by a.id

-- name: namesakes
-- Other agents of the same full name: whose the calls are can't be told.
select count(*)
from agent_profiles
where normalize(full_name, nfc) = normalize(%(name)s, nfc) and id <> %(profile)s

-- name: spellings
-- A name as the rows of a table have it: in composed letters or in decomposed ones.
select distinct {column}
from public.{table}
where normalize({column}, nfc) = any(select normalize(name, nfc) from unnest(%(names)s::text[]) as name)

-- name: calls_of
-- The calls of an agent's sessions.
select distinct audio_file_id
from consultation_sessions
where agent_name = any(%(names)s::text[])
order by audio_file_id

-- name: hold
-- New rows of these wait, and find that what they refer to is gone.
select count(*)
from (
    select
    from public.{table}
    where id = any(%(ids)s::bigint[])
    order by id
    for update
) as held

-- name: keys
-- The keys of the rows of a table that go. A ghost is the id of a rejected row: others may refer to it.
create temporary table {keys} (key bigint primary key, ghost boolean not null default false) on commit drop

-- name: paths
-- The recordings' paths, but for those that other calls have, too.
create temporary table erasing_paths on commit drop as
select distinct f.file_path as path
from audio_files as f
join {keys} as g on g.key = f.id
where f.file_path <> ''
    and not exists (
        select
        from audio_files as other
        where other.file_path = f.file_path and other.id not in (select key from {keys})
    )

-- name: mentions
-- By what else a recording is called, but for what others are called, too: as it stands in a text, and in JSON. A short
-- name has to be the whole value, as it may be part of any word.
create temporary table erasing_mentions on commit drop as
select distinct
    n.name as plain,
    case
        when length(n.name) < 5 then to_json(n.name)::text
        else substr(to_json(n.name)::text, 2, length(to_json(n.name)::text) - 2)
    end as quoted
from audio_files as f
join {keys} as g on g.key = f.id
cross join unnest(array[f.file_path, f.file_name]) as n (name)
where n.name <> ''
    and not exists (
        select
        from audio_files as other
        where n.name in (other.file_path, other.file_name) and other.id not in (select key from {keys})
    )

-- name: mentioned
create temporary table {keys} on commit drop as
select t.id as key
from public.{table} as t
where exists (
        select
        from erasing_mentions as m
        where case
                when pg_typeof(t.{column}) = 'jsonb'::regtype then position(m.quoted in t.{column}::text) > 0
                when length(m.plain) < 5 then t.{column}::text = m.plain
                else position(m.plain in t.{column}::text) > 0
            end
    )

-- name: is_text
select atttypid = 'text'::regtype
from pg_attribute
where attrelid = %(table)s::regclass and attname = %(column)s

-- name: mask_mentioned
update public.{table} set {column} = {mask}
where id = any(array(select key from {keys}))

-- name: start
insert into {keys} (key)
select unnest(%(ids)s::bigint[])

-- name: belonging
-- The rows that go with those of another table.
insert into {keys} (key)
select t.{key}
from public.{table} as t
where t.{column} = any(array(select key from {parents}))
on conflict do nothing

-- name: by_path
-- The rows that name a recording by its path alone.
insert into {keys} (key)
select t.{key}
from public.{table} as t
where t.audio_file_id is null and t.{column} = any(array(select path from erasing_paths))
on conflict do nothing

-- name: rejected_keys
create temporary table erasing_rejected (
    table_id bigint,
    number bigint,
    primary key (table_id, number)
) on commit drop

-- name: unmapped_keys
create temporary table erasing_unmapped (
    table_id bigint,
    number bigint,
    primary key (table_id, number)
) on commit drop

-- name: source_tables
-- The tables of files that are there, with the rows that were rejected, or are kept as they are.
select
    t.id,
    t.source_id,
    s.run_id,
    t.source_table,
    t.mapping,
    t.target_table,
    t.offsets,
    exists(select from imports.rejected as r where r.table_id = t.id) as has_rejected,
    exists(select from imports.unmapped as u where u.table_id = t.id) as has_unmapped
from imports.tables as t
join imports.sources as s on s.id = t.source_id
where s.undone_at is null
order by t.id

-- name: rejected_by_reference
insert into erasing_rejected (table_id, number)
select r.table_id, r.source_rowid
from imports.rejected as r
where r.table_id = %(table)s
    and r.source_row ->> %(column)s = any(array(select (key - %(offset)s::bigint)::text from {parents}))
on conflict do nothing

-- name: rejected_by_path
insert into erasing_rejected (table_id, number)
select r.table_id, r.source_rowid
from imports.rejected as r
where r.table_id = %(table)s
    and exists (
        select
        from jsonb_each_text(r.source_row) as e
        join erasing_paths as p on p.path = e.value
    )
on conflict do nothing

-- name: ghosts
-- The ids of rejected rows, which others refer to all the same.
insert into {keys} (key, ghost)
select (r.source_row ->> %(column)s)::bigint + %(offset)s::bigint, true
from imports.rejected as r
join erasing_rejected as g on g.table_id = r.table_id and g.number = r.source_rowid
where r.table_id = %(table)s and jsonb_typeof(r.source_row -> %(column)s) = 'number'
    and (r.source_row ->> %(column)s) ~ '^-?\d{{1,18}}$'
on conflict do nothing

-- name: unmapped_columns
-- Columns without a home, of rows that go.
insert into erasing_unmapped (table_id, number)
select u.table_id, u.source_rowid
from imports.unmapped as u
where u.table_id = %(table)s
    and (
        u.source_rowid = any(array(select key - %(offset)s::bigint from {keys}))
        or u.source_rowid in (select number from erasing_rejected where table_id = %(sibling)s)
    )
on conflict do nothing

-- name: unmapped_by_reference
insert into erasing_unmapped (table_id, number)
select u.table_id, u.source_rowid
from imports.unmapped as u
where u.table_id = %(table)s
    and u.source_row ->> %(column)s = any(array(select (key - %(offset)s::bigint)::text from {parents}))
on conflict do nothing

-- name: unmapped_by_path
insert into erasing_unmapped (table_id, number)
select u.table_id, u.source_rowid
from imports.unmapped as u
where u.table_id = %(table)s
    and exists (
        select
        from jsonb_each_text(u.source_row) as e
        join erasing_paths as p on p.path = e.value
    )
on conflict do nothing

-- name: count
select count(*)
from {keys}
where not ghost

-- name: count_of
select count(*)
from public.{table} as t
where {condition}

-- name: count_numbers
select count(*)
from {numbers}

-- name: delete
delete from public.{table}
where {key} = any(array(select key from {keys} where not ghost))

-- name: delete_of
delete from public.{table} as t
where {condition}

-- name: clear
update public.{table} as t set {column} = null
where t.{column} = any(array(select key from {parents}))

-- name: named
-- The rows that hold a name, some at a time.
insert into {keys} (key)
select id
from public.{table}
where {column} = any(%(names)s::text[])
order by id
limit %(most)s

-- name: mask
update public.{table} set {column} = %(mask)s
where id = any(array(select key from {keys}))

-- name: record
insert into imports.erasures (kind, subjects, erased_by, version, rows)
values (%(kind)s, %(subjects)s, %(who)s || ' as ' || current_user, %(version)s, %(rows)s)
returning id

-- name: remember
-- The imports that rows came with, so that they are missed by none and brought back by none.
insert into imports.erased (table_id, kind, number, erasure_id, columns)
select t.id, %(kind)s, g.key, %(erasure)s, %(columns)s::text[]
from {keys} as g
join imports.tables as t on t.target_table = %(table)s and t.mapping is not null
join imports.sources as s on s.id = t.source_id and s.undone_at is null
where (to_jsonb(g) ->> 'ghost') is distinct from 'true'
    and case
        when t.ids is not null then t.ids @> g.key
        else exists (
                select
                from imports.chunks as c
                where c.table_id = t.id
                    and g.key - coalesce((t.offsets ->> %(key)s)::bigint, 0) between c.first_rowid and c.last_rowid
            )
    end
on conflict (table_id, kind, number)
do update set columns = array(select distinct unnest(imports.erased.columns || excluded.columns))

-- name: remember_numbers
insert into imports.erased (table_id, kind, number, erasure_id)
select table_id, 'row', number, %(erasure)s
from {numbers}
on conflict do nothing

-- name: forget_ids
update imports.tables as t
set ids = t.ids - gone.ids
from (
    select e.table_id, range_agg(int8range(e.number, e.number, '[]')) as ids
    from imports.erased as e
    where e.erasure_id = %(erasure)s and e.kind = 'key'
    group by e.table_id
) as gone
where gone.table_id = t.id and t.ids is not null

-- name: uncount_loaded
-- The checkpoints count what is there. Where a row's number is not its id, the largest one counts it.
update imports.chunks as c
set copied = c.copied - least(c.copied, n.rows), inserted = c.inserted - greatest(n.rows - c.copied, 0)
from (
    select
        e.table_id,
        coalesce(
            (
                select o.first_rowid
                from imports.chunks as o
                where o.table_id = e.table_id
                    and e.number - coalesce((t.offsets ->> k.key)::bigint, 0) between o.first_rowid and o.last_rowid
                order by o.first_rowid desc
                limit 1
            ),
            (
                select o.first_rowid
                from imports.chunks as o
                where o.table_id = e.table_id
                order by o.copied + o.inserted desc
                limit 1
            )
        ) as first_rowid,
        count(*) as rows
    from imports.erased as e
    join imports.tables as t on t.id = e.table_id
    cross join
        lateral (
            select case when t.target_table = 'audio_features' then 'audio_file_id' else 'id' end as key
        ) as k
    where e.erasure_id = %(erasure)s and e.kind = 'key'
    group by 1, 2
) as n
where c.table_id = n.table_id and c.first_rowid = n.first_rowid

-- name: uncount_rejected
update imports.chunks as c set rejected = c.rejected - n.rows
from (
    select c.table_id, c.first_rowid, count(*) as rows
    from erasing_rejected as g
    join imports.chunks as c on c.table_id = g.table_id and g.number between c.first_rowid and c.last_rowid
    group by 1, 2
) as n
where c.table_id = n.table_id and c.first_rowid = n.first_rowid

-- name: uncount_unmapped
update imports.chunks as c set copied = c.copied - n.rows
from (
    select c.table_id, c.first_rowid, count(*) as rows
    from erasing_unmapped as g
    join imports.chunks as c on c.table_id = g.table_id and g.number between c.first_rowid and c.last_rowid
    group by 1, 2
) as n
where c.table_id = n.table_id and c.first_rowid = n.first_rowid

-- name: delete_rejected
delete from imports.rejected as r using erasing_rejected as g
where r.table_id = g.table_id and r.source_rowid = g.number

-- name: delete_unmapped
delete from imports.unmapped as u using erasing_unmapped as g
where u.table_id = g.table_id and u.source_rowid = g.number

-- name: mask_calls
-- Who saw a call stays; which one it was does not.
update audit_log as l
set
    calls = (
        select array_agg(case when c.id = any(%(ids)s::bigint[]) then 0 else c.id end order by c.place)
        from unnest(l.calls) with ordinality as c (id, place)
    )
where l.calls && %(ids)s::bigint[]

-- name: count_mask_calls
select count(*)
from audit_log as l
where l.calls && %(ids)s::bigint[]

-- name: mask_agent
-- What was done stays, and when; by whom, to whom and from where does not.
update audit_log as l
set
    agent_id = case when l.agent_id = any(%(ids)s::bigint[]) then 0 else l.agent_id end,
    subject_id = case when l.subject_id = any(%(ids)s::bigint[]) then 0 else l.subject_id end,
    ip_address = null,
    request_id = null,
    details = null
where l.agent_id = any(%(ids)s::bigint[]) or l.subject_id = any(%(ids)s::bigint[])

-- name: count_mask_agent
select count(*)
from audit_log as l
where l.agent_id = any(%(ids)s::bigint[]) or l.subject_id = any(%(ids)s::bigint[])

-- name: files
-- The files, and the snapshots of them, that hold what was erased.
select distinct f.path
from imports.erased as e
join imports.tables as t on t.id = e.table_id
join imports.sources as s on s.id = t.source_id
cross join
    lateral (
        select s.path
        union
        select s.snapshot_path
        union
        select y.snapshot_before
        from imports.syncs as y
        where y.source_id = s.id
    ) as f
where e.erasure_id = any(%(erasures)s::bigint[])
order by f.path

-- name: archives
-- The files of months, the ones that came back included.
select
    to_char(month, 'YYYY-MM') as month,
    table_name as "table",
    folder,
    file,
    columns,
    restored_at is null as away
from imports.archives
order by month, table_name

-- name: has_backups
select to_regclass('backups.ledger') is not null

-- name: backups
-- What callytics backup has recorded of backups, which hold everything until they expire.
select count(*), min(at)
from backups.ledger
where kind = 'after'
