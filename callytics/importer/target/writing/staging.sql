-- Changes on their way into the tables: staged in temporary tables, applied by sets. {…} are identifiers.

-- name: stage_rows
-- Rows to be inserted, or updated where they are present.
create temp table {staged} on commit drop as
select
    0::bigint as sync_n, 0::bigint as sync_table, 0::bigint as sync_rowid, false as sync_present, false as sync_refused,
    {columns}
from public.{target}
limit 0

-- name: stage_keys
-- Keys of rows to be deleted.
create temp table {gone} (sync_table bigint, key bigint primary key) on commit drop

-- name: copy_rows
copy {staged} (sync_n, sync_table, sync_rowid, sync_present, sync_refused, {columns}) from stdin with (format csv)

-- name: copy_keys
copy {gone} (sync_table, key) from stdin with (format csv)

-- name: stage_recorded
-- The keys of an import's rows as far as its records tell: the ids that it took for itself, or its chunks.
insert into {gone} (sync_table, key)
select w.id, t.{key}
from public.{target} as t
join imports.tables as w on w.id = %(table)s
cross join coalesce((w.offsets ->> %(key)s)::bigint, 0) as moved (ids)
where case
        when w.ids is not null then w.ids @> t.{key}
        else exists (
                select from imports.chunks as c
                where c.table_id = w.id and t.{key} - moved.ids between c.first_rowid and c.last_rowid
            )
    end
on conflict do nothing

-- name: index_rows
-- Once all rows are there.
create index on {staged} (sync_n);
analyze {staged}

-- name: analyze_keys
analyze {gone}

-- name: lockable
-- The tables that an import may fill: the audit trail is none, and everybody who reads writes to it meanwhile.
select c.oid::regclass::text
from pg_class as c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.relname <> 'audit_log'
    and exists (
        select from pg_attribute as a
        where a.attrelid = c.oid and a.attname in ('id', 'audio_file_id') and a.atttypid = 'bigint'::regtype
    )
order by 1

-- name: months
-- The months in which staged rows were created.
select distinct to_char(created_at at time zone 'UTC', 'YYYY-MM')
from {staged}
where created_at between '2000-01-01' and '2100-01-01'

-- name: delete_rows
delete from public.{target} t using {gone} g
where t.{key} = g.key

-- name: update_rows
update public.{target} t set ({columns}) = (row({staged_columns}))
from {staged} as s
where s.sync_n between %(first)s and %(last)s and s.sync_present and t.{key} = s.{key}

-- name: insert_rows
insert into public.{target} ({columns})
select {columns}
from {staged} as s
where s.sync_n between %(first)s and %(last)s and not s.sync_present
order by s.sync_n

-- name: make_room
-- A row that can't become what it should be goes; it comes back among the inserted ones, or is rejected.
with moved as (update {staged} set sync_present = false where sync_n = %(n)s returning {key} as key)
delete from public.{target} t using moved m
where t.{key} = m.key

-- name: refuse_row
update {staged} set sync_refused = true
where sync_n = %(n)s returning sync_table, sync_rowid

-- name: no_longer_rejected
-- Rows that PostgreSQL refused once, or that were there already, and that it has taken now.
delete from imports.shared r using {staged} s
where r.table_id = s.sync_table and r.source_rowid = s.sync_rowid and not s.sync_refused;
delete from imports.rejected r using {staged} s
where r.table_id = s.sync_table and r.source_rowid = s.sync_rowid and not s.sync_refused and r.source_column is null

-- name: keep_topic
-- Topic 1 is what rows without a topic table refer to: it always exists, so it loses its name instead.
with kept as (delete from {gone} where key = 1 returning key)
update topics t set name = 'Unknown'
from kept as k
where t.id = k.key

-- name: foreign_keys
-- The foreign keys of these tables and those that lead to them, on the tables that declare them; parents' keys are
-- single columns. What no import fills, such as the sessions of accounts, follows by its own on delete cascade.
select
    k.conrelid::regclass::text, k.conname, regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''),
    coalesce(pg_partition_root(k.conrelid), k.conrelid)::regclass::text, c.attname, k.confrelid::regclass::text,
    k.convalidated,
    p.attname
from pg_constraint as k
join pg_attribute as c on c.attrelid = k.conrelid and c.attnum = k.conkey[1]
join pg_attribute as p on p.attrelid = k.confrelid and p.attnum = k.confkey[1]
where k.contype = 'f' and k.conparentid = 0
    and exists (
        select from pg_attribute as a
        where a.attrelid = k.conrelid and a.attname in ('id', 'audio_file_id') and a.atttypid = 'bigint'::regtype
    )
    and (
        coalesce(pg_partition_root(k.conrelid), k.conrelid) = any(%(tables)s::regclass[])
        or k.confrelid = any(%(tables)s::regclass[])
    )
order by 1, 2

-- name: remaining_children
-- Rows that refer to deleted ones and are not deleted themselves, with the import that they came with.
select distinct on (c.{child_key}) c.{child_key}, o.import
from public.{child} as c
join public.{parent} as p on p.{parent_column} = c.{column}
join {gone} as g on g.key = p.{parent_key}
left join lateral imports.origin_of(%(child)s, c.{child_key}) as o on true
where {stays}
order by c.{child_key}, o.import nulls last
limit %(limit)s

-- name: add_children
insert into {child_gone} (key)
select distinct c.{child_key}
from public.{child} as c
join public.{parent} as p on p.{parent_column} = c.{column}
join {gone} as g on g.key = p.{parent_key}
where {stays} and not exists (select from imports.origin_of(%(child)s, c.{child_key}))
on conflict do nothing

-- name: referred
-- The ids to which staged rows refer.
select distinct s.{column}
from {staged} as s
where s.sync_table = %(table)s and s.{column} is not null

-- name: mistaken_references
-- References that find no row of their own file, but somebody else's.
select s.{key}, s.{column}
from {staged} as s
join public.{parent} as p on p.{parent_key} = s.{column}
where s.sync_table = %(table)s and s.{column} = any(%(ids)s::bigint[]) and {stays}
limit %(limit)s

-- name: key_column
select a.attname
from pg_attribute as a
where a.attrelid = %(table)s::regclass and a.attname in ('id', 'audio_file_id') and not a.attisdropped
order by a.attname = 'id' desc
limit 1

-- name: delete_unmapped
delete from imports.unmapped u using unnest(%(rowids)s::bigint[]) as gone (rowid)
where u.table_id = %(table)s and u.source_rowid = gone.rowid

-- name: put_unmapped
insert into imports.unmapped (table_id, source_table, source_rowid, source_row) values %s
on conflict (table_id, source_rowid) do update
    set source_row = excluded.source_row, source_table = excluded.source_table

-- name: delete_rejected
delete from imports.shared r using unnest(%(rowids)s::bigint[]) as gone (rowid)
where r.table_id = %(table)s and r.source_rowid = gone.rowid;
delete from imports.rejected r using unnest(%(rowids)s::bigint[]) as gone (rowid)
where r.table_id = %(table)s and r.source_rowid = gone.rowid

-- name: one_moment
-- Must be the first statement of its transaction: what is read in it is as of its first query.
set local transaction_isolation = 'repeatable read'

-- name: lock_tables
-- Others may read, and write when the transaction has ended.
lock table {tables} in share row exclusive mode

-- name: export_moment
-- Other sessions can read as of this transaction's moment.
select pg_export_snapshot()
