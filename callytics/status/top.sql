-- What `callytics top` asks. `%(name)s` are parameters. Nothing here reads a row of a table of ours.

-- name: settle
-- Whoever watches must not stand in a queue that others then stand behind.
select
    set_config('lock_timeout', '1s', false),
    set_config('statement_timeout', '15s', false)

-- name: sight
-- Who asks, what he may see, and since when the server has counted.
select
    current_user::text as role,
    current_database()::text as database,
    quote_ident(current_user) as identifier,
    pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all,
    pg_is_in_recovery() as standby,
    current_setting('server_version') as version,
    clock_timestamp() as at,
    extract(epoch from clock_timestamp() - pg_postmaster_start_time())::double precision as up_seconds,
    current_setting('max_connections')::int as connections_limit,
    (select sum(numbackends) from pg_stat_database)::int as connections,
    pg_database_size(current_database()) as bytes,
    d.xact_commit + d.xact_rollback as transactions,
    d.blks_hit as blocks_hit,
    d.blks_read as blocks_read,
    d.temp_bytes,
    d.deadlocks,
    coalesce(d.stats_reset, pg_postmaster_start_time()) as counted_since,
    extract(epoch from clock_timestamp() - coalesce(d.stats_reset, pg_postmaster_start_time()))::double precision
        as counted_seconds
from pg_stat_database as d
where d.datname = current_database()

-- name: sessions
-- Sessions of this database but our own; what another role's session does is empty without pg_read_all_stats.
select
    pid,
    usename::text as role,
    application_name as application,
    client_addr::text as client,
    state,
    wait_event_type as wait_type,
    wait_event as wait,
    extract(epoch from clock_timestamp() - xact_start)::double precision as transaction_seconds,
    extract(epoch from clock_timestamp() - state_change)::double precision as state_seconds,
    pg_blocking_pids(pid) as blocked_by,
    query
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
order by cardinality(pg_blocking_pids(pid)) desc, state = 'active' desc nulls last, xact_start nulls last, pid

-- name: waits
-- What working sessions wait for.
select wait_event_type as type, wait_event as event, count(*)::int as sessions
from pg_stat_activity
where datname = current_database() and state = 'active' and wait_event is not null and pid <> pg_backend_pid()
group by wait_event_type, wait_event
order by count(*) desc, wait_event_type, wait_event

-- name: blocking
-- Who waits for a lock, and who holds it up; process 0 is a prepared transaction.
select
    l.pid,
    blocker.pid as blocked_by,
    l.locktype as kind,
    l.mode,
    case
        when l.database = (select oid from pg_database where datname = current_database())
            then l.relation::regclass::text
    end as relation,
    extract(epoch from clock_timestamp() - l.waitstart)::double precision as seconds,
    holding.state as blocker_state,
    extract(epoch from clock_timestamp() - holding.xact_start)::double precision as blocker_seconds
from pg_locks as l
cross join unnest(pg_blocking_pids(l.pid)) as blocker (pid)
left join pg_stat_activity as holding on holding.pid = blocker.pid
where not l.granted
order by seconds desc nulls last, l.pid, blocker.pid

-- name: statistics_of_statements
-- Where pg_stat_statements is.
select n.nspname || '.pg_stat_statements' as view
from pg_extension as e
join pg_namespace as n on n.oid = e.extnamespace
where e.extname = 'pg_stat_statements'

-- name: collects
-- Fails where the server has not loaded the library.
select
from {view}
limit 0

-- name: statements
-- The ten statements that cost most.
select
    s.queryid::text as id,
    sum(s.calls)::bigint as calls,
    sum(s.total_exec_time)::double precision as total_ms,
    (sum(s.total_exec_time) / nullif(sum(s.calls), 0))::double precision as mean_ms,
    sum(s.rows)::bigint as rows,
    sum(s.shared_blks_hit)::bigint as blocks_hit,
    sum(s.shared_blks_read)::bigint as blocks_read,
    sum(s.temp_blks_written)::bigint as temp_blocks,
    min(s.query) as query
from {view} as s
where s.dbid = (select oid from pg_database where datname = current_database())
    and s.queryid is not null
group by s.queryid
order by total_ms desc
limit 10

-- name: tables
-- Tables with their indexes and TOAST, those of all partitions together; rows are what the planner believes.
select
    root.oid::regclass::text as name,
    coalesce(sum(pg_total_relation_size(leaf.oid)), 0)::bigint as bytes,
    coalesce(sum(pg_indexes_size(leaf.oid)), 0)::bigint as index_bytes,
    coalesce(sum(leaf.reltuples) filter (where leaf.reltuples >= 0), 0)::bigint as rows,
    coalesce(sum(s.n_dead_tup), 0)::bigint as dead_rows,
    coalesce(sum(s.n_live_tup), 0)::bigint as live_rows,
    coalesce(sum(s.n_tup_ins - s.n_tup_del), 0)::bigint as added_rows,
    coalesce(sum(s.seq_scan), 0)::bigint as scans,
    coalesce(sum(s.seq_tup_read), 0)::bigint as scanned_rows,
    max(greatest(s.last_vacuum, s.last_autovacuum)) as vacuumed_at
from pg_class as leaf
join pg_namespace as n on n.oid = leaf.relnamespace
join pg_class as root on root.oid = coalesce(pg_partition_root(leaf.oid), leaf.oid)
left join pg_stat_all_tables as s on s.relid = leaf.oid
where leaf.relkind in ('r', 'm') and n.nspname !~ '^(pg_|information_schema$)'
group by root.oid
order by bytes desc, name

-- name: months
-- How the months of each table are vacuumed: soon after they change, as they are written to; frozen, as they are over;
-- over, and not frozen yet.
select
    parent.oid::regclass::text as name,
    count(*)::bigint as months,
    count(*) filter (where month.soon)::bigint as soon,
    count(*) filter (where month.frozen)::bigint as frozen,
    count(*) filter (where not month.frozen and month.is_over and c.relpages > 0)::bigint as unfrozen,
    count(*) filter (where not month.soon and not month.is_over)::bigint as late
from pg_inherits as i
join pg_class as c on c.oid = i.inhrelid
join pg_class as parent on parent.oid = i.inhparent
cross join
    lateral (
        select
            coalesce('autovacuum_vacuum_insert_scale_factor=0.05' = any(c.reloptions), false) as soon,
            coalesce('autovacuum_freeze_min_age=0' = any(c.reloptions), false) as frozen,
            right(c.relname, 7) < to_char(now() at time zone 'UTC', 'YYYY_MM') as is_over
    ) as month
where parent.relkind = 'p' and c.relkind = 'r' and c.relname ~ '_\d{4}_\d\d$'
group by parent.oid
order by 1

-- name: unused_indexes
-- Indexes that no query has used and that enforce nothing; those of all partitions together.
select
    root.oid::regclass::text as name,
    root.relname::text as short,
    root_of.indrelid::regclass::text as relation,
    sum(pg_relation_size(leaf.indexrelid))::bigint as bytes
from pg_index as leaf
join pg_class as own on own.oid = leaf.indexrelid and own.relkind = 'i'
join pg_namespace as n on n.oid = own.relnamespace
join pg_class as root on root.oid = coalesce(pg_partition_root(leaf.indexrelid), leaf.indexrelid)
join pg_index as root_of on root_of.indexrelid = root.oid
left join pg_stat_all_indexes as s on s.indexrelid = leaf.indexrelid
where n.nspname !~ '^(pg_|information_schema$)'
    and not root_of.indisunique
    and not exists (select from pg_constraint as k where k.conindid = root.oid)
group by root.oid, root.relname, root_of.indrelid
having coalesce(sum(s.idx_scan), 0) = 0 and sum(pg_relation_size(leaf.indexrelid)) >= %(least_bytes)s
order by bytes desc, name

-- name: unindexed_keys
-- Foreign keys whose columns no index begins with: each delete of a parent reads the whole table.
select
    k.conname::text as name,
    k.conrelid::regclass::text as relation,
    array(
        select quote_ident(a.attname)
        from unnest(k.conkey) with ordinality as key (number, place)
        join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = key.number
        order by key.place
    ) as columns
from pg_constraint as k
join pg_namespace as n on n.oid = k.connamespace
where k.contype = 'f'
    and k.conparentid = 0
    and n.nspname !~ '^(pg_|information_schema$)'
    and (
        select coalesce(sum(leaf.reltuples) filter (where leaf.reltuples > 0), 0)
        from pg_class as leaf
        where leaf.oid = k.conrelid or pg_partition_root(leaf.oid) = k.conrelid
    ) >= %(least_rows)s
    and not exists (
        select
        from pg_index as i
        where i.indrelid = k.conrelid
            and i.indpred is null
            -- An int2vector counts from 0; the order of the key's columns within the index's beginning does not matter.
            and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
    )
order by 2, 1

-- name: bloat
-- By how much a table is larger than its rows need, as their average widths say: an estimate, and only for tables whose
-- statistics this role may see. A row has a header of 24 bytes and a pointer of 4, and is aligned to 8; a page holds
-- 8168.
select
    c.oid::regclass::text as name,
    c.relpages::bigint * 8192 as bytes,
    ((c.relpages - need.pages) * 8192)::bigint as bloat_bytes,
    1 - need.pages / c.relpages as share
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
cross join
    lateral (
        select ceil(c.reltuples * (28 + ceil(sum((1 - s.null_frac) * s.avg_width) / 8) * 8) / 8168) as pages
        from pg_stats as s
        where s.schemaname = n.nspname and s.tablename = c.relname and not s.inherited
    ) as need
where c.relkind = 'r'
    and c.reltuples > 0
    and n.nspname !~ '^(pg_|information_schema$)'
    and (c.relpages - need.pages) * 8192 >= %(least_bytes)s
    and need.pages < c.relpages * 0.7
order by bloat_bytes desc

-- name: sees_widths
-- Whether this role may see the statistics that the estimate of bloat is made from.
select
    exists (select from pg_stats where schemaname !~ '^(pg_|information_schema$)')
    or not exists (select from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace and reltuples > 0)

-- name: standbys
select
    application_name as name,
    client_addr::text as client,
    state,
    sync_state as sync,
    pg_wal_lsn_diff(case when not pg_is_in_recovery() then pg_current_wal_lsn() end, replay_lsn)::bigint as lag_bytes,
    extract(epoch from replay_lag)::double precision as lag_seconds
from pg_stat_replication
order by application_name, pid

-- name: slots
select
    slot_name::text as name,
    slot_type as kind,
    active,
    wal_status as state,
    pg_wal_lsn_diff(case when not pg_is_in_recovery() then pg_current_wal_lsn() end, restart_lsn)::bigint as held_bytes
from pg_replication_slots
order by slot_name

-- name: archiving
select
    current_setting('archive_mode') as mode,
    archived_count as archived,
    failed_count as failed,
    last_archived_time as archived_at,
    last_failed_time as failed_at,
    coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) as failing
from pg_stat_archiver

-- name: settings
-- As other sessions have them; sizes in bytes as well.
select
    name,
    reset_val as setting,
    case unit when '8kB' then 8192 when 'kB' then 1024 when 'MB' then 1048576 end * reset_val::bigint as bytes
from pg_settings
where name = any(%(names)s) and vartype = 'integer'
union all
select name, reset_val, null
from pg_settings
where name = any(%(names)s) and vartype <> 'integer'
order by name

-- name: checkpoints
select num_timed as timed, num_requested as requested
from pg_stat_checkpointer

-- name: checkpoints_before_17
-- Where the view of the checkpointer is still part of another.
select checkpoints_timed as timed, checkpoints_req as requested
from pg_stat_bgwriter
