-- What `callytics cluster` asks each host of POSTGRES_HOST where it is none of them itself.

-- name: member
-- How this server takes part: its WAL in bytes, who confirms its commits, whether they wait for that, and how many do.
-- Without pg_monitor neither standbys' states nor others' waits are shown.
select
    s.standby,
    pg_wal_lsn_diff(s.lsn, '0/0') as position,
    case
        when s.standby then (select r.received_tli from pg_stat_wal_receiver as r)
        -- The checkpoint's would be that of before until the first one after a promotion.
        else ('x' || substr(pg_walfile_name(s.lsn), 1, 8))::bit(32)::int
    end as timeline,
    (select r.status from pg_stat_wal_receiver as r) as receiver,
    (
        select array_agg(r.application_name)
        from pg_stat_replication as r
        where r.state = 'streaming' and r.sync_state in ('sync', 'quorum')
    ) as confirming,
    (select count(*) from pg_stat_replication as r where r.state is null) as untold,
    current_setting('synchronous_standby_names') != '' as synchronous,
    (select count(*) from pg_stat_activity as a where a.wait_event = 'SyncRep')::int as waiting
from (
    select
        pg_is_in_recovery() as standby,
        case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end as lsn
) as s
