-- Whoever gets at the application's login cannot rewrite who logged in: trails take new rows from it and lose none.
-- And callytics_readonly, which looks at calls, no longer sees what would let it in: hashes of passwords and sessions.
-- depends: 0065.one-row-an-id

-- By name, as regclass wants a schema to be open to whoever asks.
create or replace function is_trail(relation oid) returns boolean
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
comment on function is_trail(oid) is 'Whether a table, or the one of which it is a partition, only grows: the application adds rows and changes none';

-- What refers to an account or a profile goes with it, the login trail too: who may not delete there may not delete these.
create or replace function application_privileges(relation oid) returns text
language sql stable
as $$
    select case
        when is_trail(relation) then 'select, insert'
        when c.relname in ('agent_accounts', 'agent_profiles') then 'select, insert, update'
        else 'select, insert, update, delete'
    end
    from pg_class as c
    where c.oid = relation
$$;
comment on function application_privileges(oid) is 'What the application may do with the rows of a table';

-- Rejected, shared and unmapped rows are whole rows of any table of a source, accounts included.
create or replace function is_secret(relation oid, column_name name) returns boolean
language sql stable
as $$
    select exists(
        select
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where c.oid = coalesce(pg_partition_root(relation), relation::regclass)
            and (n.nspname, c.relname, column_name) in (
                ('public', 'agent_accounts', 'password_hash'),
                ('public', 'agent_sessions', 'id'),
                ('public', 'agent_activity_logs', 'session_id'),
                ('imports', 'rejected', 'raw'),
                ('imports', 'rejected', 'source_row'),
                ('imports', 'unmapped', 'source_row'),
                ('imports', 'shared', 'source_row'),
                ('imports', 'shared', 'target_row')
            )
    )
$$;
comment on function is_secret(oid, name) is 'Whether a column holds what lets somebody in, or may hold it: callytics_readonly does not see it';

create or replace procedure grant_reading(relation regclass, reader name)
language plpgsql
as $$
declare
    readable text;
begin
    if not exists(select from pg_attribute where attrelid = relation and attnum > 0 and is_secret(relation, attname)) then
        execute format('grant select on %s to %I', relation, reader);
        return;
    end if;
    select string_agg(quote_ident(attname), ', ' order by attnum) into readable
    from pg_attribute
    where attrelid = relation and attnum > 0 and not attisdropped and not is_secret(relation, attname);
    -- What default privileges gave when the table was made.
    execute format('revoke select on %s from %I', relation, reader);
    execute format('grant select (%s) on %s to %I', readable, relation, reader);
end
$$;
comment on procedure grant_reading(regclass, name) is 'Lets a role read a table, but for the columns that hold secrets';

-- Exactly the same, that is: a new partition has what default privileges give every table, which is too much for one of a trail.
-- The name on a line of its own: whether a migration is in is told by what it creates, and this one is only replaced.
create or replace procedure
copy_privileges(source regclass, target regclass)
language plpgsql
as $$
declare
    granted record;
begin
    for granted in
        select
            case c.relkind when 'S' then 'sequence' else 'table' end as kind,
            case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end as grantee
        from pg_class as c
        cross join aclexplode(c.relacl) as acl
        where c.oid = target and acl.grantee <> c.relowner
    loop
        execute format('revoke all on %s %s from %s', granted.kind, target, granted.grantee);
    end loop;
    for granted in
        select
            acl.privilege_type as privilege,
            given.columns,
            given.kind,
            case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end as grantee,
            case when acl.is_grantable then 'with grant option' end as option
        from (
            select relowner as owner, relacl as acl, '' as columns, case relkind when 'S' then 'sequence' else 'table' end as kind
            from pg_class
            where oid = source
            union all
            select c.relowner, a.attacl, format(' (%I)', a.attname), 'table'
            from pg_attribute as a
            join pg_class as c on c.oid = a.attrelid
            where a.attrelid = source and a.attnum > 0 and not a.attisdropped
        ) as given
        cross join aclexplode(given.acl) as acl
        where acl.grantee <> given.owner
    loop
        execute format(
            'grant %s%s on %s %s to %s %s',
            granted.privilege, granted.columns, granted.kind, target, granted.grantee, granted.option
        );
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
