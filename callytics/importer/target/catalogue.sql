-- What the importer asks of the target and does to its tables; `%(…)s` are parameters.

-- name: columns
-- The columns of a table that can be written, with their types.
select a.attname, format_type(a.atttypid, a.atttypmod)
from pg_attribute as a
where a.attrelid = to_regclass('public.' || quote_ident(%(table)s))
    and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by a.attnum

-- name: leaves
-- A table's partitions that hold rows: the table itself where it has none.
select relid::regclass::text
from pg_partition_tree(%(table)s::regclass)
where isleaf

-- name: is_partitioned
select relkind = 'p'
from pg_class
where oid = %(table)s::regclass

-- name: indexes
-- The indexes that can be built again after a load: not those of keys and not a partition's share of a parent's.
select c.relname, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
from pg_index as i
join pg_class as c on c.oid = i.indexrelid
where i.indrelid = %(table)s::regclass and not i.indisunique and not c.relispartition
    and not exists (select from pg_constraint as k where k.conindid = i.indexrelid)

-- name: foreign_keys
-- The foreign keys that a table declares itself (not those it inherits as a partition).
select conname, regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '')
from pg_constraint
where conrelid = %(table)s::regclass and contype = 'f' and conparentid = 0

-- name: highest_id
-- The highest id that a table holds or has given out.
select
    greatest(
        (select coalesce(max(id), 0) from {table}),
        (select coalesce(pg_sequence_last_value(pg_get_serial_sequence(%(table)s, 'id')::regclass), 0))
    )

-- name: ids_taken
-- Whether some id of a range is taken.
select exists(select from {table} where id between %(first)s and %(last)s)

-- name: open_references
-- The columns that refer to a table's ids by a foreign key which is not valid: they may hold ids that the table does
-- not have; codes refer by their text. Each with the table that an import fills, of which it may be a partition, and
-- that one's key.
select
    k.conrelid::regclass::text as child,
    c.attname as referring,
    coalesce(pg_partition_root(k.conrelid), k.conrelid)::regclass::text as whole_child,
    (
        select a.attname
        from pg_attribute as a
        where a.attrelid = k.conrelid and a.attname in ('id', 'audio_file_id') and not a.attisdropped
        order by a.attname = 'id' desc
        limit 1
    ) as key
from pg_constraint as k
join pg_attribute as c on c.attrelid = k.conrelid and c.attnum = k.conkey[1]
join pg_attribute as p on p.attrelid = k.confrelid and p.attnum = k.confkey[1]
where k.contype = 'f' and k.confrelid = %(table)s::regclass and p.attname = 'id' and not k.convalidated

-- name: lost_ids
-- The lowest and the highest id by which rows refer to one that is not there and will not come: their own import had
-- such a table, and did not bring it.
select min(c.{column}), max(c.{column})
from {child} as c
where not exists (select from {table} as p where p.id = c.{column})
    and exists (
        select from imports.origin_of(%(child)s, c.{key}) as o
        join imports.sources as s on s.run_id = o.import
        join imports.tables as t on t.source_id = s.id
        where t.target_table = %(table)s
    )

-- name: drop_untouched_topic
-- Makes room for an import's own topic 1 while nothing refers to the one that came with the schema, or with an undo.
delete from topics
where id = 1 and name = 'Unknown'
    and not exists (select from audio_features where topic_id = 1)
    and not exists (
        select from imports.tables as t
        join imports.sources as s on s.id = t.source_id
        where t.target_table = 'topics' and s.undone_at is null
    )

-- name: restore_topic
-- Topic 1 is what rows without a topic table refer to: it always exists.
insert into topics (id, name) values (1, 'Unknown') on conflict (id) do nothing

-- name: set_sequence
-- The next id is larger than every id there is and than the highest that SQLite had given.
select setval(pg_get_serial_sequence(%(table)s, 'id'), %(highest)s)

-- name: primary_key
-- The primary key of a table, where it can be deferred: nothing depends on it.
select k.conname, pg_get_indexdef(k.conindid)
from pg_constraint as k
where k.contype = 'p' and k.conrelid = %(table)s::regclass and k.conparentid = 0
    and not exists (select from pg_constraint as f where f.contype = 'f' and f.conindid = k.conindid)
    and not exists (
        select from pg_depend as d
        where d.refclassid = 'pg_constraint'::regclass and d.refobjid = k.oid and d.deptype = 'n'
    )

-- name: constraints
select conname
from pg_constraint
where conrelid = %(table)s::regclass

-- name: has_index
-- Whether a table has an index of this kind already.
select
    exists(
        select from pg_index as i
        where i.indrelid = to_regclass(%(table)s) and i.indisvalid
            and regexp_replace(pg_get_indexdef(i.indexrelid), '^.*? USING ', '') = %(kind)s
    )

-- name: busy
-- How far the server is with the indexes and statistics that these sessions have it make.
select pid, phase, blocks_done, blocks_total, tuples_done, tuples_total
from pg_stat_progress_create_index
where pid = any(%(pids)s)
union all
select pid, phase, sample_blks_scanned, sample_blks_total, 0, 0
from pg_stat_progress_analyze
where pid = any(%(pids)s)

-- name: is_empty
select not exists (select from {table})

-- name: missing_months
-- Of these months those without a partition, and for how many more partitions the server has locks. It makes room for
-- max_locks_per_transaction of each session, workers of its own included, and any session may use it all
-- (https://www.postgresql.org/docs/15/runtime-config-locks.html).
select
    array(
        select month
        from unnest(%(months)s::text[]) as month
        where to_regclass('public.' || quote_ident(%(table)s || '_' || replace(month, '-', '_'))) is null
        order by month
    ),
    greatest(
        0,
        current_setting('max_locks_per_transaction')::int
        * (
            current_setting('max_connections')::int
            + current_setting('max_prepared_transactions')::int
            + current_setting('autovacuum_max_workers')::int
            + current_setting('max_worker_processes')::int
            + current_setting('max_wal_senders')::int
        )
        / %(locks)s
        - (select count(*) from pg_class where relispartition and relkind = 'r')
    )

-- name: data_directory
-- Where the server keeps its data, if this role may know it.
select current_setting('data_directory')
where pg_has_role('pg_read_all_settings', 'usage')

-- name: make_month
select ensure_month_partitions(%(table)s, %(first_day)s, %(first_day)s)

-- name: orphans
-- Rows that refer to a row that is not there.
select count(*)
from {child} as c
where c.{column} is not null and not exists (select from {parent} as p where p.{key} = c.{column})

-- name: drop_index
drop index if exists {index}

-- name: drop_constraint
alter table {table} drop constraint if exists {constraint}

-- name: index_exists
select to_regclass(%(index)s) is not null

-- name: add_primary_key
-- A primary key that takes over an index.
alter table {table} add primary key using index {index}

-- name: create_share
-- A partition's share of an index.
create index on {table} using {method}

-- name: declare_foreign_key
-- For rows to come; those that are there are not looked at.
alter table {table} add constraint {constraint} {definition} not valid

-- name: validate_foreign_key
alter table {table} validate constraint {constraint}

-- name: analyze
analyze {table}

-- name: rows_of
-- Rows by their keys, in the order of these.
select {columns}
from public.{table}
where {which}
order by {key}
