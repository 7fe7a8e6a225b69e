-- What the status page shows.

-- name: schema_version
-- The last migration that was applied.
select migration_id
from _yoyo_migration
order by migration_id desc
limit 1

-- name: tables
-- Our tables, with what the planner believes of their rows: those of all partitions, -1 where nobody knows.
select
    c.relname as name, (
        select coalesce(sum(leaf.reltuples) filter (where leaf.reltuples >= 0), -1)::bigint
        from pg_partition_tree(c.oid) as part
        join pg_class as leaf on leaf.oid = part.relid
        where part.isleaf
    ) as estimate
from pg_class as c
where c.relnamespace = 'public'::regnamespace
    and c.relkind in ('r', 'p')
    and not c.relispartition
    and c.relname !~ '^(_?yoyo|_callytics)_'
    and has_table_privilege(c.oid, 'select')
order by c.relname

-- name: count
-- Rows of a table as far as one can count quickly.
select count(*)
from (select from {table} limit %s) as counted

-- name: last_import
select import as id, verdict, version, started_at, finished_at
from import_summaries
order by import desc
limit 1

-- name: import_tables
select file, source_table, target_table, source_rows, loaded, shared, rejected, verified_rows, different_rows
from import_summaries
where import = %(id)s and source_table is not null
order by file, source_table, target_table
