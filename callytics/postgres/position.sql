-- How far the data of servers go.

-- name: told
-- Which data the primary has, and up to which byte of its log whatever it has acknowledged until now; nothing where it
-- is none. Commits that do not wait for the disk are acknowledged before they are flushed.
select
    system_identifier as system,
    ('x' || left(pg_walfile_name(place), 8))::bit(32)::bigint as timeline,
    (place - '0/0')::bigint as place
from
    pg_control_system(),
    lateral (
        select
            case
                when pg_is_in_recovery() then null
                when current_setting('synchronous_commit') = 'off' then pg_current_wal_insert_lsn()
                else pg_current_wal_flush_lsn()
            end as place
    ) as log
where place is not null

-- name: replayed
-- The same of a standby: up to which byte it shows the primary's data; nothing where it is none. It notes a new
-- timeline on its disk some time after it has gone over to it, and never before.
select
    system_identifier as system,
    greatest(timeline_id, min_recovery_end_timeline)::bigint as timeline,
    (pg_last_wal_replay_lsn() - '0/0')::bigint as place
from pg_control_system(), pg_control_checkpoint(), pg_control_recovery()
where pg_is_in_recovery() and pg_last_wal_replay_lsn() is not null
