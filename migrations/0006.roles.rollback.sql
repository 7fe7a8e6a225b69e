-- Takes the rights of the deployment's roles back; the roles stay.
do $$
declare
    theirs record;
begin
    for theirs in
        select r.rolname as role, c.oid::regclass as relation, case when c.relkind = 'S' then 'sequence' else 'table' end as kind
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        cross join pg_roles as r
        where c.relowner = current_user::regrole
            and c.relkind in ('r', 'p', 'v', 'S')
            and n.nspname in ('public', 'imports')
            and r.rolname in ('callytics_user', 'callytics_readonly', 'callytics_monitor')
            and r.rolname <> current_user
    loop
        execute format('revoke all on %s %s from %I', theirs.kind, theirs.relation, theirs.role);
    end loop;
    if to_regrole('callytics_user') <> current_user::regrole then
        revoke usage on schema public from callytics_user;
        alter default privileges in schema public revoke all on tables from callytics_user;
        alter default privileges in schema public revoke all on sequences from callytics_user;
    end if;
    if to_regrole('callytics_readonly') <> current_user::regrole then
        revoke usage on schema public, imports from callytics_readonly;
        alter default privileges in schema public, imports revoke all on tables from callytics_readonly;
    end if;
    if to_regrole('callytics_monitor') <> current_user::regrole then
        revoke usage on schema public from callytics_monitor;
    end if;
end
$$;

drop procedure if exists grant_to_callytics_roles();
