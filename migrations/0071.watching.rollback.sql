-- Monitoring sees no more than before. No row is lost.
do $$
declare
    ours regclass;
begin
    if exists(select from pg_roles where rolname = 'callytics_monitor' and rolname <> current_user) then
        revoke all on import_summaries from callytics_monitor;
        for ours in
            select c.oid
            from pg_class as c
            join pg_namespace as n on n.oid = c.relnamespace
            where c.relkind = 'S' and n.nspname in ('public', 'imports') and pg_get_userbyid(c.relowner) = current_user
        loop
            execute format('revoke all on sequence %s from callytics_monitor', ours);
        end loop;
        alter default privileges in schema public, imports revoke select on sequences from callytics_monitor;
    end if;
end
$$;

create or replace procedure
grant_to_callytics_roles()
language plpgsql
as $$
declare
    application constant name := application_role();
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
        join pg_roles as owner on owner.oid = c.relowner
        cross join pg_roles as r
        where owner.rolname = current_user
            and c.relkind in ('r', 'p', 'v', 'S')
            and n.nspname in ('public', 'imports')
            and r.rolname in (application, 'callytics_readonly')
            and r.rolname <> current_user
    loop
        if ours.role <> application then
            call grant_reading(ours.relation, ours.role);
        elsif ours.is_migration then
            execute format('grant select on %s to %I', ours.relation, ours.role);
        elsif ours.is_sequence and not ours.is_record then
            execute format('grant usage, select on sequence %s to %I', ours.relation, ours.role);
        elsif not ours.is_record then
            -- Default privileges gave more, when the table was made.
            execute format('revoke update, delete on %s from %I', ours.relation, ours.role);
            execute format('grant %s on %s to %I', application_privileges(ours.relation), ours.relation, ours.role);
        end if;
    end loop;
    if application <> current_user and exists(select from pg_roles where rolname = application) then
        execute format('grant usage on schema public to %I', application);
        execute format('grant execute on function keep_partitions_ahead(integer) to %I', application);
        execute format(
            'alter default privileges in schema public grant select, insert, update, delete on tables to %I', application
        );
        execute format('alter default privileges in schema public grant usage, select on sequences to %I', application);
    end if;
    if exists(select from pg_roles where rolname = 'callytics_readonly' and rolname <> current_user) then
        grant usage on schema public, imports to callytics_readonly;
        alter default privileges in schema public, imports grant select on tables to callytics_readonly;
    end if;
    if exists(select from pg_roles where rolname = 'callytics_monitor' and rolname <> current_user) then
        grant usage on schema public to callytics_monitor;
        grant select on _yoyo_migration to callytics_monitor;
    end if;
end
$$;

call grant_to_callytics_roles();

drop procedure if exists grant_watching();
