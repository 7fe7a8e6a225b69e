-- The application may change and delete the rows of the trails again, and callytics_readonly reads every column.
do $$
declare
    relation regclass;
begin
    for relation in
        select c.oid
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname in ('public', 'imports')
            and c.relkind in ('r', 'p')
            and exists(select from pg_attribute as a where a.attrelid = c.oid and a.attnum > 0 and is_secret(c.oid, a.attname))
            and exists(select from pg_roles where rolname = 'callytics_readonly' and rolname <> current_user)
    loop
        -- Its columns, which the grant below does not name.
        execute format('revoke select on %s from callytics_readonly', relation);
    end loop;
end
$$;

create or replace procedure
copy_privileges(source regclass, target regclass)
language plpgsql
as $$
declare
    granted record;
begin
    for granted in
        select
            acl.privilege_type as privilege,
            case c.relkind when 'S' then 'sequence' else 'table' end as kind,
            case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end as grantee,
            case when acl.is_grantable then 'with grant option' end as option
        from pg_class as c
        cross join aclexplode(c.relacl) as acl
        where c.oid = source and acl.grantee <> c.relowner
    loop
        execute format('grant %s on %s %s to %s %s', granted.privilege, granted.kind, target, granted.grantee, granted.option);
    end loop;
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

call grant_to_callytics_roles();

drop procedure if exists grant_reading(regclass, name);

drop function if exists is_secret(oid, name);

drop function if exists application_privileges(oid);

drop function if exists is_trail(oid);
