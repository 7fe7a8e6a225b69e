-- The application's role has to be callytics_user again; the rights of one by another name are taken back.
do $$
declare
    application constant name := application_role();
    theirs record;
begin
    if application = 'callytics_user' or application = current_user
        or not exists(select from pg_roles where rolname = application)
    then
        return;
    end if;
    for theirs in
        select c.oid::regclass as relation, case when c.relkind = 'S' then 'sequence' else 'table' end as kind
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_roles as owner on owner.oid = c.relowner
        where owner.rolname = current_user and c.relkind in ('r', 'p', 'v', 'S') and n.nspname in ('public', 'imports')
    loop
        execute format('revoke all on %s %s from %I', theirs.kind, theirs.relation, application);
    end loop;
    execute format('revoke usage on schema public from %I', application);
    execute format('revoke execute on function keep_partitions_ahead(integer) from %I', application);
    execute format('alter default privileges in schema public revoke all on tables from %I', application);
    execute format('alter default privileges in schema public revoke all on sequences from %I', application);
end
$$;

create or replace procedure grant_to_callytics_roles()
language plpgsql
as $$
declare
    ours record;
begin
    for ours in
        select
            r.rolname as role,
            c.oid::regclass as relation,
            c.relkind = 'S' as is_sequence,
            n.nspname = 'imports' as is_record,
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

comment on procedure grant_to_callytics_roles () is
'Gives callytics_user, callytics_readonly and callytics_monitor their rights, as far as they exist';

call grant_to_callytics_roles();

drop function if exists application_role();
