-- Months of the partitioned tables: what there is, what goes to files, and what comes back.

-- name: unfinished
-- Imports that were cut off, whose tables may lack indexes and keys.
select id
from imports.runs
where status = 'running'
order by id

-- name: months
-- Every month that is here or in a file, table by table, with its rows as the statistics estimate them (-1 before the
-- first), or as they were counted when it went.
select
    substring(part.relname from '\d{4}_\d{2}$') as month,
    parent.relname as "table",
    part.relname as partition,
    pg_total_relation_size(part.oid) as bytes,
    part.reltuples::bigint as rows,
    null as folder
from pg_inherits as i
join pg_class as part on part.oid = i.inhrelid
join pg_class as parent on parent.oid = i.inhparent
join pg_namespace as n on n.oid = parent.relnamespace
where n.nspname = 'public' and parent.relkind = 'p' and part.relkind = 'r' and part.relname ~ '_\d{4}_\d{2}$'
union all
select to_char(month, 'YYYY_MM'), table_name, null, null, rows, folder
from imports.archives
where restored_at is null
order by 1, 2, 6 nulls first

-- name: columns
-- The columns that are written: what is generated is computed again.
select attname
from pg_attribute
where attrelid = %(table)s::regclass and attnum > 0 and not attisdropped and attgenerated = ''
order by attnum

-- name: bounded
-- For how long a statement waits for a lock, and makes others wait behind it.
select set_config('lock_timeout', %(time)s, true)

-- name: steady
-- Whatever else is read at the moment, rows are read from the first page on.
select set_config('synchronize_seqscans', 'off', true)

-- name: hold
-- Writers of this month wait until it is away, readers go on.
lock table {partition} in share mode

-- name: digest
-- How many rows there are, and the sum of what their values hash to.
select count(*), coalesce(sum(('x' || left(md5(row({columns})::text), 15))::bit(60)::bigint), 0)::text
from {table}

-- name: sees_backups
-- Whether backups are recorded in this database, for this role to read.
select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
from pg_namespace as n
join pg_class as c on c.relnamespace = n.oid and c.relname = 'ledger'
where n.nspname = 'backups'

-- name: newest_backup
-- What every table held when the newest backup was made; tables are null where writers could not be stopped for it.
select label, tables
from backups.ledger
where kind = 'after'
order by id desc
limit 1

-- name: write
copy (
    select {columns}
    from {partition}
    order by id
) to stdout

-- name: scratch
create temporary table {scratch} (like {partition}) on commit drop

-- name: read
copy {scratch} ({columns}) from stdin

-- name: runs
-- The imports that rows of a partition came with.
select coalesce(array_agg(distinct s.run_id), '{{}}')
from imports.tables as t
join imports.sources as s on s.id = t.source_id
where t.target_table = %(table)s
    and t.mapping is not null
    and s.undone_at is null
    and case
        when t.ids is not null
            then exists (
                    select from {partition} as p
                    where t.ids @> p.id
                )
        else exists (
                select
                from imports.chunks as c
                join {partition} as p on p.id between c.first_rowid + t.id_offset and c.last_rowid + t.id_offset
                where c.table_id = t.id
            )
    end

-- name: detach
alter table {table} detach partition {partition}

-- name: drop
drop table {partition}

-- name: record
insert into imports.archives (month, table_name, folder, file, sha256, columns, rows, digest, runs)
values (
    %(month)s::date, %(table)s, %(folder)s, %(file)s, %(sha256)s, %(columns)s, %(rows)s, %(digest)s, %(runs)s
)

-- name: archived
-- The files of a month that is away.
select id, table_name as "table", folder, file, sha256, columns, rows, digest
from imports.archives
where month = %(month)s::date and restored_at is null
order by table_name

-- name: ensure_month
select ensure_month_partitions(%(table)s::regclass, %(month)s::date, %(month)s::date)

-- name: keys
-- The foreign keys of a partition, as they are.
select conname as name, pg_get_constraintdef(oid) as definition
from pg_constraint
where conrelid = %(partition)s::regclass and contype = 'f'
order by conname

-- name: drop_key
alter table {partition} drop constraint {key}

-- name: add_key
alter table {partition} add constraint {key} {definition}

-- name: validate_key
alter table {partition} validate constraint {key}

-- name: taken
-- Ids of the file that rows have which came meanwhile.
select s.id
from {scratch} as s
join {table} as t on t.id = s.id
order by s.id
limit 1

-- name: there
-- How many rows of the file are in the table as they were.
select count(*)
from (
    select id, md5(row({columns})::text)
    from {scratch}
    intersect
    select id, md5(row({columns})::text)
    from {table}
    where id in (select id from {scratch})
) as same

-- name: put_back
insert into {table} ({columns})
select {columns}
from {scratch}

-- name: restored
update imports.archives set restored_at = now()
where id = any(%(ids)s)

-- name: analyze
analyze {partition}
