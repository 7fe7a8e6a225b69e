-- The application's role may have any name: who migrates tells it by the setting callytics.application, which 'callytics migrate' and
-- 'yoyo apply' take from POSTGRES_USER. Without it the role is callytics_user, as before.
-- depends: 0057.import-figures

create or replace function application_role() returns name
language sql stable
as $$
    select coalesce(nullif(current_setting('callytics.application', true), ''), 'callytics_user')::name
$$;

comment on function application_role() is 'The application''s role in this session: callytics.application, or callytics_user';

-- The name on a line of its own: whether a migration is in is told by what it creates, and this one is only replaced.
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
        if ours.role <> application or ours.is_migration then
            execute format('grant select on %s to %I', ours.relation, ours.role);
        elsif ours.is_sequence and not ours.is_record then
            execute format('grant usage, select on sequence %s to %I', ours.relation, ours.role);
        elsif not ours.is_record then
            execute format('grant select, insert, update, delete on %s to %I', ours.relation, ours.role);
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

comment on procedure grant_to_callytics_roles() is
    'Gives the application''s role, callytics_readonly and callytics_monitor their rights, as far as they exist';

-- 0006 and 0040 gave them to callytics_user, which may be another installation's.
do $$
declare
    application constant name := application_role();
    theirs record;
begin
    if application = 'callytics_user' or current_user = 'callytics_user'
        or not exists(select from pg_roles where rolname = 'callytics_user')
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
        execute format('revoke all on %s %s from %I', theirs.kind, theirs.relation, 'callytics_user');
    end loop;
    execute format('revoke usage on schema public from %I', 'callytics_user');
    execute format('revoke execute on function keep_partitions_ahead(integer) from %I', 'callytics_user');
    execute format('alter default privileges in schema public revoke all on tables from %I', 'callytics_user');
    execute format('alter default privileges in schema public revoke all on sequences from %I', 'callytics_user');
end
$$;

call grant_to_callytics_roles();
