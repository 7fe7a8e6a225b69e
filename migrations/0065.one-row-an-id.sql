-- An id stands once in each partitioned table, whoever gives it: it is the row's name for everything that refers to it.
-- A primary key of PostgreSQL's holds within one partition only, unless it contains created_at, which may be NULL. So the rows of a statement
-- look for their ids in all partitions when it ends. Ids from the sequence do so as well: somebody may have given them by hand before.
-- Imports bring millions of rows whose ids they have checked as a whole: nothing here fires in a session that has set callytics.importing.
-- What is left to 'callytics doctor': rows that are written to a partition by its own name, and two sessions that give one id at one moment.
-- depends: 0064.time-zones

-- Nested loops, whatever the statement before was like: a plan is kept, and the one for a million rows would read whole tables for one.
create or replace function refuse_second_id() returns trigger
language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    twice bigint;
begin
    -- Written out, so that the plans are kept: planning takes longer than looking.
    case tg_table_name
        when 'transcriptions' then
            select a.id into twice from added as a join public.transcriptions as t on t.id = a.id group by a.id having count(*) > 1 limit 1;
        when 'utterances' then
            select a.id into twice from added as a join public.utterances as t on t.id = a.id group by a.id having count(*) > 1 limit 1;
        when 'processing_logs' then
            select a.id into twice from added as a join public.processing_logs as t on t.id = a.id group by a.id having count(*) > 1 limit 1;
        when 'agent_activity_logs' then
            select a.id into twice from added as a join public.agent_activity_logs as t on t.id = a.id group by a.id having count(*) > 1 limit 1;
    end case;
    if twice is not null then
        raise unique_violation using
            message = format('id %s is in %s already', twice, tg_table_name),
            constraint = tg_table_name || '_one_row_an_id',
            table = tg_table_name,
            schema = 'public',
            column = 'id';
    end if;
    return null;
end
$$;
comment on function refuse_second_id() is 'Refuses rows whose ids other rows of the partitioned table have';

do $$
declare
    name text;
begin
    -- A busy table makes this migration give up and be tried again, instead of making everybody wait behind it.
    perform set_config('lock_timeout', '3s', true);
    foreach name in array array['transcriptions', 'utterances', 'processing_logs', 'agent_activity_logs'] loop
        execute format(
            'create or replace trigger %I after insert on %I referencing new table as added '
            'for each statement when (current_setting(''callytics.importing'', true) is distinct from ''on'') '
            'execute function refuse_second_id()',
            name || '_one_row_an_id', name
        );
        execute format(
            'create or replace trigger %I after update on %I referencing new table as added '
            'for each statement when (current_setting(''callytics.importing'', true) is distinct from ''on'') '
            'execute function refuse_second_id()',
            name || '_one_row_an_id_still', name
        );
    end loop;
end
$$;
