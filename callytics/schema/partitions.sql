-- name: function
-- Whether the function that makes partitions is there: a migration makes it.
select to_regprocedure('public.keep_partitions_ahead(integer)') is not null

-- name: partitions
-- The partitions of every table, in the order of their months.
select c.relname
from pg_inherits as i
join pg_class as c on c.oid = i.inhrelid
join pg_class as parent on parent.oid = i.inhparent
join pg_namespace as n on n.oid = c.relnamespace
where c.relispartition and parent.relkind = 'p' and c.relkind in ('r', 'p') and n.nspname = 'public'
order by 1

-- name: ahead
-- Make this month's partitions and those of the months to come.
select public.keep_partitions_ahead(%(months)s)

-- name: over
-- The months that are over and were not frozen yet, by partition, the oldest first.
select c.relname
from pg_inherits as i
join pg_class as c on c.oid = i.inhrelid
join pg_class as parent on parent.oid = i.inhparent
join pg_namespace as n on n.oid = c.relnamespace
where parent.relkind = 'p'
    and n.nspname = 'public'
    and c.relname ~ '_\d{4}_\d\d$'
    and right(c.relname, 7) < to_char(now() at time zone 'UTC', 'YYYY_MM')
    and not coalesce(c.reloptions, '{}') @> month_storage(is_over => true)
order by right(c.relname, 7), c.relname

-- name: is_importing
-- Whether an import, sync or undo runs, or was cut off.
select
    exists (
        select
        from pg_locks
        where locktype = 'advisory'
            and database = (select oid from pg_database where datname = current_database())
            and (classid::bigint << 32) + objid::bigint = %(import_lock)s
            and granted
    )
    or exists (select from imports.runs where status = 'running')

-- name: gently
-- Who uses the database comes first, and nobody waits behind one that waits for a lock.
select
    set_config('vacuum_cost_delay', '2ms', false),
    set_config('lock_timeout', '2s', false),
    set_config('statement_timeout', '0', false)

-- name: freeze
vacuum (freeze, analyze) public.{partition}

-- name: mark
-- A month that is over is vacuumed as other tables are, but rows that come late are frozen at once.
alter table public.{partition} reset (
    autovacuum_analyze_scale_factor, autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_scale_factor
);

alter table public.{partition} set (autovacuum_freeze_min_age = 0)
