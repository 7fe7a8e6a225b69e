-- What migrate.py and versions.py ask and record beside yoyo's own tables.

-- name: create_contents_table
-- The contents of what is applied: yoyo remembers names only.
create table if not exists _callytics_migration (
    migration_id text primary key,
    sha256 text not null,
    recorded_at timestamptz not null default now()
)

-- name: application
-- Whom grant_to_callytics_roles() grants what the application needs, for this session.
select set_config('callytics.application', %(application)s, false)

-- name: content
-- What was applied under this name.
select sha256
from _callytics_migration
where migration_id = %(migration)s

-- name: remember
insert into _callytics_migration (migration_id, sha256)
values (%(migration)s, %(sha256)s)
on conflict (migration_id) do update set sha256 = excluded.sha256, recorded_at = now()

-- name: forget
delete from _callytics_migration
where migration_id = %(migration)s

-- name: lock
-- Whether the lock that one run at a time can hold is ours now.
select pg_try_advisory_lock(%(lock)s)

-- name: unlock
select pg_advisory_unlock(%(lock)s)

-- name: stale_lock
-- Whether yoyo's lock is there without a run. Whoever holds the advisory lock knows that no run of ours, which has a
-- negative number, is left. Plain yoyo takes no advisory lock: its run is a session that began when its row was written
-- and idles after one of yoyo's own statements, while another session works on the migration.
select
    exists (select from yoyo_lock) and not exists (
        select
        from pg_stat_activity as session
        cross join yoyo_lock as lock
        where session.datname = current_database()
            and session.usename = current_user
            and session.pid <> pg_backend_pid()
            and (session.query = 'COMMIT' or session.query like '%"_yoyo_%')
            and lock.pid > 0
            and abs(extract(epoch from session.backend_start - lock.ctime at time zone 'UTC')) < 10
    )

-- name: try_to_write
-- Touches no row, and is refused by a server that takes no writes.
delete from yoyo_lock
where false

-- name: rows_up_to
-- How many rows a table has; counting ends at %(most)s of them.
select count(*)
from (select from {table} limit %(most)s) as counted

-- name: relation_exists
select to_regclass(%(name)s) is not null

-- name: routine_exists
select to_regproc(%(name)s) is not null

-- name: invalid_index
-- Whether the building of an index was interrupted.
select true
from pg_index
where indexrelid = to_regclass(%(index)s) and not indisvalid

-- name: missing_index
-- An index that was built concurrently can't be repaired where its table is partitioned by now.
select
    to_regclass(%(index)s) is null
    and (select relkind in ('r', %(kind)s) from pg_class where oid = to_regclass(%(table)s))

-- name: deferred_index
-- Whether an import took an index away for its load and will bring it back.
select true
from imports.definitions
where name = %(index)s and restored_at is null

-- name: wait_for_builder
lock table {table} in share update exclusive mode

-- name: drop_index
drop index concurrently {index}

-- name: recorded
-- What a table has on record of each applied migration.
select migration_id, {column}
from {table}

-- name: missing_months
-- The partitions that this month and those to come have to be given, table by table.
select
    parent.relname as parent,
    month::date as month
from pg_partitioned_table as p
join pg_class as parent on parent.oid = p.partrelid
join pg_class as fallback on fallback.oid = p.partdefid
cross join
    generate_series(
        date_trunc('month', now() at time zone 'UTC'),
        date_trunc('month', now() at time zone 'UTC') + make_interval(months => %(months)s),
        interval '1 month'
    ) as month
where parent.relnamespace = 'public'::regnamespace
    and parent.relowner = current_user::regrole
    and pg_get_partkeydef(parent.oid) = 'RANGE (created_at)'
    and fallback.relname = parent.relname || '_default'
    and to_regclass('public.' || quote_ident(parent.relname || to_char(month, '_YYYY_MM'))) is null
order by 1, 2

-- name: make_month
-- A month of a table by itself: readers wait while it is attached, and never while rows of another one are moved.
-- A busy table is tried again instead of waited for: whoever reads it next would wait behind us.
select
    case
        when set_config('lock_timeout', '3s', true) is not null
            then public.ensure_month_partitions(('public.' || quote_ident(%(parent)s))::regclass, %(month)s, %(month)s)
    end

-- name: keep_partitions
-- The months' settings, and partitions of whatever is not told by its catalogue.
select case when set_config('lock_timeout', '3s', true) is not null then public.keep_partitions_ahead(%(months)s) end
