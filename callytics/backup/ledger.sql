-- name: settle
-- Look for nothing in a schema that others may write to: this is the superuser's session.
-- And write values as they were written when they were recorded.
select
    pg_catalog.set_config('search_path', 'pg_catalog', false),
    pg_catalog.set_config('timezone', 'UTC', false),
    pg_catalog.set_config('datestyle', 'ISO, YMD', false),
    pg_catalog.set_config('intervalstyle', 'postgres', false),
    pg_catalog.set_config('bytea_output', 'hex', false),
    pg_catalog.set_config('extra_float_digits', '1', false),
    pg_catalog.set_config('statement_timeout', '0', false),
    pg_catalog.set_config('idle_in_transaction_session_timeout', '0', false)

-- name: owner
-- Who owns the schema of the backups' records, and whether it is the one who asks.
select
    n.nspowner::regrole::text as owner,
    n.nspowner = quote_ident(current_user)::regrole as ours,
    exists(
        select
        from pg_attribute
        where attrelid = to_regclass('backups.ledger') and attname = 'faults' and not attisdropped
    ) as complete
from pg_namespace as n
where n.nspname = 'backups'

-- name: make
-- The superuser's own schema, so that a trigger of the tables' owner can't take his rights. Applications only read it.
create schema backups;

comment on schema backups is 'What callytics backup records: moments to be restored, and trial restores';

create table backups.ledger (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    kind text not null,
    label text,
    xid xid8 not null default pg_current_xact_id(),
    tables jsonb,
    note text,
    faults jsonb
);

comment on table backups.ledger is 'Moments that were committed: before a backup, after it with checksums, at a trial';

create table backups.drills (
    id bigint generated always as identity primary key,
    began timestamptz not null,
    ended timestamptz not null,
    label text,
    target text not null,
    passed boolean not null,
    rto_seconds double precision,
    rpo_seconds double precision,
    found jsonb not null
);

comment on table backups.drills is 'Trial restores: how long they took, what could have been lost, what was compared'

-- name: make_complete
-- What an older version did not record.
alter table backups.ledger add column if not exists faults jsonb

-- name: readers
-- Those of our roles that are there: all of them may read the records.
select rolname
from pg_roles
where rolname in ('callytics_owner', 'callytics_user', 'callytics_readonly', 'callytics_monitor')

-- name: grant
-- Let a role read the records.
grant usage on schema backups to {role};

grant select on all tables in schema backups to {role};

grant select on all sequences in schema backups to {role}

-- name: record
-- Commit a moment; its transaction is what a restore can be led to.
insert into backups.ledger (kind, label, note)
values (%(kind)s, %(label)s, %(note)s)
returning id, at, xid::text as xid

-- name: complete
-- Add what every table held at that moment.
update backups.ledger set tables = %(tables)s::jsonb, faults = %(faults)s::jsonb
where id = %(id)s

-- name: tables
-- Every table whose rows a backup keeps, partitions one by one.
select n.nspname as schema, c.relname as name
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where
    c.relkind = 'r'
    and c.relpersistence = 'p'
    and n.nspname not in ('pg_catalog', 'information_schema', 'backups')
    and n.nspname !~ '^pg_(toast|temp)'
order by 1, 2

-- name: lock
-- Let no writer be under way, for the moment that a snapshot is taken in.
lock table {tables} in share mode

-- name: fingerprint
-- How many rows, and the sum of their hashes. record_out and textin call the output functions of the columns' types
-- alone: a cast of the owner's is not run with the superuser's rights.
select count(*)::bigint as rows, coalesce(sum(hashtextextended(textin(record_out(t)), 0)), 0)::text as checksum
from {table} as t

-- name: newest
-- The last moment with every table's checksum, of a backup that the repository still has.
select id, at, label, xid::text as xid, tables
from backups.ledger
where kind = 'after' and tables is not null and label = any(%(labels)s)
order by id desc
limit 1

-- name: faults
-- What the doctor found wrong when a backup was made.
select faults
from backups.ledger
where kind = 'after' and label = %(label)s
order by id desc
limit 1

-- name: moment
-- A moment by its number.
select id, at
from backups.ledger
where id = %(id)s

-- name: between
-- How many moments were committed by a time, and the newest one.
select count(*)::bigint as moments, max(id) as newest
from backups.ledger
where at <= %(until)s

-- name: beyond
-- How many moments are younger than a time.
select count(*)::bigint
from backups.ledger
where at > %(until)s

-- name: recorded
-- Whether a backup was recorded.
select count(*) > 0
from backups.ledger
where kind = 'after' and label = %(label)s

-- name: drilled
-- Record a trial restore.
insert into backups.drills (began, ended, label, target, passed, rto_seconds, rpo_seconds, found)
values (%(began)s, %(ended)s, %(label)s, %(target)s, %(passed)s, %(rto)s, %(rpo)s, %(found)s::jsonb)

-- name: forget
-- Keep a year of moments.
delete from backups.ledger
where at < now() - interval '400 days'

-- name: archiver
-- How archiving goes: what waits for it, and whether the last attempt failed.
select
    a.failed_count,
    a.last_archived_wal,
    a.last_failed_wal,
    extract(epoch from a.last_archived_time)::double precision as archived_at,
    extract(epoch from a.last_failed_time)::double precision as failed_at,
    (
        select count(*)
        from pg_ls_archive_statusdir() as f
        where f.name ~ '\.ready$'
    )::bigint as waiting,
    (
        select extract(epoch from min(f.modification))
        from pg_ls_archive_statusdir() as f
        where f.name ~ '\.ready$'
    )::double precision as waiting_since,
    (select coalesce(sum(f.size), 0) from pg_ls_waldir() as f)::bigint as wal_bytes,
    current_setting('archive_mode') as archive_mode,
    pg_is_in_recovery() as standby
from pg_stat_archiver as a

-- name: wake
-- Have a young checkpointer look at the clock: one that began before recovery had ended sleeps for checkpoint_timeout,
-- whatever archive_timeout says, until a reload wakes it.
select pg_reload_conf()
from pg_stat_activity as p, pg_stat_archiver as a
where p.backend_type = 'checkpointer'
    and p.backend_start > now() - current_setting('checkpoint_timeout')::interval
    and coalesce(a.last_archived_time, '-infinity') < now() - current_setting('archive_timeout')::interval
    and current_setting('archive_timeout') <> '0'
    and not pg_is_in_recovery()

-- name: settled
-- The newest moment of minutes ago: whoever led has archived it since.
select id, at, xid::text as xid
from backups.ledger
where at < now() - interval '5 minutes'
order by id desc
limit 1

-- name: last_drill
-- The last trial restore, on whichever member it was.
select
    target,
    passed,
    label,
    rto_seconds,
    rpo_seconds,
    to_char(ended at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') as ended,
    extract(epoch from ended)::double precision as ended_at
from backups.drills
order by id desc
limit 1

-- name: alone
-- Wait for no standby: what this session commits is for the archive alone.
select set_config('synchronous_commit', 'local', false)

-- name: position
-- Where the WAL is now, and the file that this is in.
select pg_current_wal_insert_lsn()::text as lsn, pg_walfile_name(pg_current_wal_insert_lsn()) as file

-- name: switch
-- Close the current file of the WAL, so that it is archived.
select pg_switch_wal()::text

-- name: size
-- How many bytes all databases have.
select sum(pg_database_size(oid))::bigint
from pg_database

-- name: paused
-- Whether recovery has come to where it was to stop.
select pg_is_in_recovery() and pg_get_wal_replay_pause_state() = 'paused'

-- name: in_recovery
-- Whether the server still recovers.
select pg_is_in_recovery()

-- name: forget_restore_command
-- What pgBackRest's restore writes into postgresql.auto.conf.
alter system reset restore_command

-- name: identifier
-- The cluster's own number, which initdb draws and a restore keeps.
select system_identifier
from pg_control_system()
