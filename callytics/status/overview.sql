-- What `callytics status` and the status page ask, as the application may.

-- name: server
select
    current_setting('server_version') as version,
    extract(epoch from clock_timestamp() - pg_postmaster_start_time())::double precision as up_seconds,
    current_setting('max_connections')::int as connections_limit,
    (select sum(numbackends) from pg_stat_database)::int as connections,
    pg_database_size(current_database()) as bytes,
    pg_is_in_recovery() as standby,
    now() as at

-- name: imports
-- The newest imports, one row each, with their files.
select
    import,
    verdict,
    started_at,
    finished_at,
    array_agg(distinct file order by file) filter (where file is not null) as files,
    sum(rejected)::bigint as rejected
from import_summaries
group by import, verdict, started_at, finished_at
order by import desc
limit %(most)s

-- name: months_ahead
-- How many months after this one every table that is divided by month has a partition for; none where none is divided.
select min(ahead)::int as months
from (
    select
        parent.oid,
        coalesce(
            min(month.ahead) filter (
                where to_regclass('public.' || quote_ident(parent.relname || to_char(month.first, '_YYYY_MM'))) is null
            ),
            25
        ) - 1 as ahead
    from pg_partitioned_table as p
    join pg_class as parent on parent.oid = p.partrelid
    cross join
        lateral (
            select
                ahead,
                date_trunc('month', now() at time zone 'UTC') + make_interval(months => ahead) as first
            from generate_series(0, 24) as ahead
        ) as month
    where parent.relnamespace = 'public'::regnamespace
    group by parent.oid
) as tables

-- name: has_backups
-- Whether deploy/backup.py's records are there for this role.
select to_regclass('backups.drills') is not null and has_schema_privilege('backups', 'usage') as readable
from (select) as nothing
where to_regnamespace('backups') is not null

-- name: backup
-- The newest backup that was recorded with its end.
select label, at, extract(epoch from clock_timestamp() - at)::double precision as seconds
from backups.ledger
where kind = 'after'
order by id desc
limit 1

-- name: drill
-- The newest trial restore.
select
    ended as at,
    passed,
    rto_seconds,
    rpo_seconds,
    extract(epoch from clock_timestamp() - ended)::double precision as seconds
from backups.drills
order by id desc
limit 1
