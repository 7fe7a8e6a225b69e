-- Who may do what, for those of the deployment's roles that exist.
-- The role that migrates owns everything. callytics_user works with the calls, callytics_readonly reads everything, callytics_monitor sees which
-- migrations are in. A role that is created later gets its rights by: call grant_to_callytics_roles()
-- depends: 0005.comments

-- Only what the caller owns is granted: another owner's view in public (pg_stat_statements) would make a grant on all tables fail.
-- Default privileges do the same for what later migrations create.
create or replace procedure grant_to_callytics_roles()
language plpgsql
as $$
declare
    ours record;
begin
    for ours in
        select r.rolname as role, c.oid::regclass as relation, c.relkind = 'S' as is_sequence, n.nspname = 'imports' as is_record,
            c.relname ~ '^(_?yoyo|_callytics)_' as is_migration
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        cross join pg_roles as r
        where c.relowner = current_user::regrole
            and c.relkind in ('r', 'p', 'v', 'S')
            and n.nspname in ('public', 'imports')
            and r.rolname in ('callytics_user', 'callytics_readonly')
            and r.rolname <> current_user
    loop
        if ours.role = 'callytics_readonly' or ours.is_migration then
            execute format('grant select on %s to %I', ours.relation, ours.role);
        elsif ours.is_sequence and not ours.is_record then
            execute format('grant usage, select on sequence %s to %I', ours.relation, ours.role);
        elsif not ours.is_record then
            execute format('grant select, insert, update, delete on %s to %I', ours.relation, ours.role);
        end if;
    end loop;
    if to_regrole('callytics_user') <> current_user::regrole then
        grant usage on schema public to callytics_user;
        alter default privileges in schema public grant select, insert, update, delete on tables to callytics_user;
        alter default privileges in schema public grant usage, select on sequences to callytics_user;
        -- A later migration makes it.
        if to_regprocedure('keep_partitions_ahead(integer)') is not null then
            grant execute on function keep_partitions_ahead(integer) to callytics_user;
        end if;
    end if;
    if to_regrole('callytics_readonly') <> current_user::regrole then
        grant usage on schema public, imports to callytics_readonly;
        alter default privileges in schema public, imports grant select on tables to callytics_readonly;
    end if;
    if to_regrole('callytics_monitor') <> current_user::regrole then
        grant usage on schema public to callytics_monitor;
        grant select on _yoyo_migration to callytics_monitor;
    end if;
end
$$;

comment on procedure grant_to_callytics_roles() is 'Gives callytics_user, callytics_readonly and callytics_monitor their rights, as far as they exist';

call grant_to_callytics_roles();
