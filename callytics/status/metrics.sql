-- What `callytics metrics` asks, as a member of pg_monitor may. A column of text is a label, every other one a metric.

-- name: server
select
    extract(epoch from pg_postmaster_start_time())::double precision as server_start_timestamp_seconds,
    pg_is_in_recovery() as standby,
    pg_database_size(d.datid) as database_bytes,
    d.xact_commit + d.xact_rollback as transactions_total,
    d.deadlocks as deadlocks_total,
    d.temp_bytes as temporary_bytes_total,
    d.blks_hit as blocks_hit_total,
    d.blks_read as blocks_read_total,
    (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
    current_setting('max_connections')::int as connections_limit
from pg_stat_database as d
where d.datname = current_database()

-- name: schema
-- The last migration that was applied.
select migration_id as migration, 1 as schema
from _yoyo_migration
order by migration_id desc
limit 1

-- name: roles
-- How many connections those roles have that may not have all of them.
select
    r.rolname::text as role,
    (select count(*) from pg_stat_activity as a where a.usesysid = r.oid and a.backend_type = 'client backend')
        as role_connections,
    r.rolconnlimit as role_connections_limit
from pg_roles as r
where r.rolconnlimit > 0

-- name: sessions
select coalesce(state, 'unknown') as state, count(*) as sessions
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
group by 1

-- name: waits
-- What is in others' way: transactions that stay open, prepared ones too, and who waits for a lock or, with what is
-- stored already, for a standby to confirm it.
select
    (
        select coalesce(max(extract(epoch from clock_timestamp() - began)), 0)::double precision
        from (
            select xact_start as began
            from pg_stat_activity
            where backend_type = 'client backend' and pid <> pg_backend_pid()
            union all
            select prepared
            from pg_prepared_xacts
        ) as transactions
    ) as longest_transaction_seconds,
    (select count(*) from pg_stat_activity where wait_event = 'SyncRep') as standby_waits,
    (
        select coalesce(max(extract(epoch from clock_timestamp() - state_change)), 0)::double precision
        from pg_stat_activity
        where wait_event = 'SyncRep'
    ) as longest_standby_wait_seconds,
    count(*) as lock_waits,
    coalesce(max(extract(epoch from clock_timestamp() - waitstart)), 0)::double precision as longest_lock_wait_seconds
from pg_locks
where not granted

-- name: wal
select
    coalesce(sum(size), 0)::bigint as wal_bytes,
    case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') end as wal_written_bytes_total
from pg_ls_waldir()

-- name: archiving
select
    a.archived_count as archived_files_total,
    a.failed_count as archive_failures_total,
    extract(epoch from a.last_archived_time)::double precision as archived_timestamp_seconds,
    coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) as archive_failing,
    waiting.files as archive_waiting_files,
    waiting.seconds as archive_waiting_seconds
from pg_stat_archiver as a
cross join
    lateral (
        select
            count(*) as files,
            coalesce(extract(epoch from clock_timestamp() - min(f.modification)), 0)::double precision as seconds
        from pg_ls_archive_statusdir() as f
        where f.name ~ '\.ready$'
    ) as waiting
where current_setting('archive_mode') <> 'off' and not pg_is_in_recovery()

-- name: standbys
-- A standby that has connected twice under one name is told by the one that is further behind; who only receives WAL
-- applies none.
select
    application_name as standby_name,
    bool_and(state = 'streaming') as standby_streaming,
    max(pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(replay_lsn, flush_lsn, write_lsn))) as standby_behind_bytes,
    max(extract(epoch from replay_lag))::double precision as standby_behind_seconds
from pg_stat_replication
where not pg_is_in_recovery()
group by application_name

-- name: slots
-- A cluster's standbys have slots for each other, for the case that they lead.
select
    slot_name::text as slot,
    active as slot_active,
    coalesce(wal_status = 'lost', false) as slot_lost,
    pg_wal_lsn_diff(case when not pg_is_in_recovery() then pg_current_wal_lsn() end, restart_lsn) as slot_held_bytes
from pg_replication_slots
where not pg_is_in_recovery()

-- name: cluster
-- Of a cluster's members: who could confirm what the one that leads stores, and whether the others follow it.
select
    case
        when not pg_is_in_recovery() and current_setting('synchronous_standby_names') <> ''
            then (
                select count(*)
                from pg_stat_replication
                where state = 'streaming' and sync_state in ('sync', 'quorum')
            )
    end as standbys_confirming,
    case when pg_is_in_recovery() then exists (select from pg_stat_wal_receiver where status = 'streaming') end
        as standby_follows,
    case
        when pg_is_in_recovery() then (select received_tli from pg_stat_wal_receiver)
        else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
    end as timeline

-- name: rows
-- Rows and dead rows, those of all partitions together; sizes would wait for whoever has locked a table.
select
    coalesce(pg_partition_root(s.relid), s.relid)::regclass::text as relation,
    sum(s.n_live_tup)::bigint as table_rows,
    sum(s.n_dead_tup)::bigint as table_dead_rows,
    sum(s.n_tup_ins)::bigint as table_inserted_rows_total
from pg_stat_user_tables as s
group by 1

-- name: sizes
select
    coalesce(pg_partition_root(s.relid), s.relid)::regclass::text as relation,
    sum(pg_total_relation_size(s.relid))::bigint as table_bytes
from pg_stat_user_tables as s
group by 1

-- name: indexes
-- Indexes that CREATE INDEX CONCURRENTLY has left behind, but for those that are being built.
select count(*) as invalid_indexes
from pg_index as i
where not i.indisvalid
    and not exists (select from pg_stat_progress_create_index as p where p.index_relid = i.indexrelid)

-- name: sequences
-- How much of its numbers a sequence has given out, as far as this role may see it.
select
    seqrelid::regclass::text as sequence,
    (coalesce(pg_sequence_last_value(seqrelid), 0) / seqmax::numeric)::double precision as sequence_used_ratio
from pg_sequence
where case when has_sequence_privilege(seqrelid, 'select') then seqincrement > 0 and not seqcycle else false end

-- name: ages
-- How near the oldest database is to the end of its transaction ids:
-- https://www.postgresql.org/docs/15/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND
select
    max(age(datfrozenxid)) / 2147483648.0 as transaction_ids_used_ratio,
    max(mxid_age(datminmxid)) / 2147483648.0 as multixact_ids_used_ratio
from pg_database

-- name: imports
-- How the imports have ended.
select
    verdict,
    count(distinct import) as imports,
    max(extract(epoch from started_at))::double precision as import_timestamp_seconds
from import_summaries
group by verdict

-- name: statements
-- The statements that cost most, by their number alone: 'callytics top' knows their texts.
select
    s.queryid::text as queryid,
    sum(s.calls)::bigint as statement_calls_total,
    sum(s.total_exec_time) / 1000 as statement_seconds_total,
    sum(s.rows)::bigint as statement_rows_total,
    sum(s.shared_blks_read)::bigint as statement_blocks_read_total
from {view} as s
where s.dbid = (select oid from pg_database where datname = current_database()) and s.queryid is not null
group by s.queryid
order by statement_seconds_total desc
limit 20

-- name: certificate
-- Where the server's certificate is, if it uses TLS.
select current_setting('ssl_cert_file') as path
where current_setting('ssl')::boolean
