-- Takes the trail away. Nothing is lost by it: its months move to the schema audit_log_rolled_back, and the next apply
-- brings them back.
set local lock_timeout = '3s';

do $$
declare
    part record;
begin
    if not exists(select from audit_log) then
        drop table audit_log;
        return;
    end if;
    create schema audit_log_rolled_back;
    for part in select relid as name from pg_partition_tree('audit_log') loop
        execute format('alter table %s set schema audit_log_rolled_back', part.name);
    end loop;
end
$$;

create or replace function
is_trail(relation oid) returns boolean
language sql stable
as $$
    select exists(
        select
        from pg_class as c
        where c.oid = coalesce(pg_partition_root(relation), relation::regclass)
            and c.relnamespace = (select oid from pg_namespace where nspname = 'public')
            and c.relname in ('agent_activity_logs')
    )
$$;

create or replace function
keep_partitions_ahead(months integer default 3) returns integer
language plpgsql security definer
set search_path = public, pg_temp
as $$
declare
    this_month constant date := date_trunc('month', now() at time zone 'UTC');
    endless regclass;
    created integer := 0;
begin
    foreach endless in array array['transcriptions', 'utterances', 'processing_logs', 'agent_activity_logs']::regclass[] loop
        created := created + ensure_month_partitions(endless, this_month, (this_month + make_interval(months => months))::date);
    end loop;
    return created;
end
$$;
