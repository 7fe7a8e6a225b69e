-- name: patience
-- Wait a few seconds for whatever else is changing privileges, but not for longer; one comparison at a time.
select set_config('lock_timeout', '5s', true), pg_advisory_xact_lock(hashtext('callytics grants'))

-- name: application
-- Whom grant_to_callytics_roles() grants what the application needs, in this transaction.
select set_config('callytics.application', %(application)s, true)

-- name: exists
select to_regrole(quote_ident(%(role)s)) is not null

-- name: owner
-- Who owns the procedure that grants, and who asks; no row before the migrations are applied.
select pg_get_userbyid(proowner) as owner, current_user::text as login
from pg_proc
where oid = to_regprocedure('public.grant_to_callytics_roles()')

-- name: privileges
-- Every privilege that others have on what the owner owns, and on the schemas: on what, whose, and which.
select pg_describe_object(given.class, given.object, given.part), coalesce(r.rolname, 'everybody'), privilege
from (
    select
        'pg_class'::regclass as class,
        oid as object,
        0 as part,
        relowner as owner,
        relacl as acl
    from pg_class
    where relowner = quote_ident(current_user)::regrole
    union all
    select 'pg_class'::regclass, t.attrelid, t.attnum, c.relowner, t.attacl
    from pg_attribute as t
    join pg_class as c on c.oid = t.attrelid
    where c.relowner = quote_ident(current_user)::regrole
    union all
    select 'pg_namespace'::regclass, oid, 0, nspowner, nspacl
    from pg_namespace
    where nspname in ('public', 'imports')
    union all
    -- Without a list everybody may execute: to write that out, as revoking does, is not a difference.
    select 'pg_proc'::regclass, oid, 0, proowner, coalesce(proacl, acldefault('f', proowner))
    from pg_proc
    where proowner = quote_ident(current_user)::regrole
    union all
    select 'pg_default_acl'::regclass, oid, 0, defaclrole, defaclacl
    from pg_default_acl
    where defaclrole = quote_ident(current_user)::regrole
) as given
cross join aclexplode(given.acl) as a
cross join
    unnest(
        array[a.privilege_type] || case when a.is_grantable then 'grant option for ' || a.privilege_type end
    ) as privilege
left join pg_roles as r on r.oid = a.grantee
where a.grantee <> given.owner and privilege is not null

-- name: revoke
-- Take every privilege from our roles, and those on tables from everybody, as if nothing had been granted yet.
-- The owner may be one of our roles, and keeps his own. PUBLIC's privileges on the schema public are the server's
-- defaults, not grants of the migrations: hosts close it, other servers need not.
do $$
declare
    ours constant text := (
        select string_agg(quote_ident(rolname), ', ')
        from pg_roles
        where rolname in (
                current_setting('callytics.application'), 'callytics_user', 'callytics_readonly', 'callytics_monitor'
            )
            and rolname <> current_user
    );
    all_of_them constant text := concat_ws(', ', ours, 'public');
    object record;
begin
    for object in
        select c.oid::regclass as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where c.relowner = quote_ident(current_user)::regrole
            and c.relkind in ('r', 'p', 'v', 'm', 'S')
            and n.nspname in ('public', 'imports')
    loop
        execute format('revoke all on %s %s from %s cascade', object.kind, object.name, all_of_them);
    end loop;
    execute format('revoke all on schema imports from %s cascade', all_of_them);
    -- Those of the whole database too. Of routines and types everybody has some by default, which is no grant.
    for object in
        select
            case d.defaclnamespace when 0 then '' else format('in schema %I', d.defaclnamespace::regnamespace::text) end as place,
            k.name as kind,
            case when d.defaclobjtype in ('f', 'T') then ours else all_of_them end as grantees
        from pg_default_acl as d
        join
            (values ('r', 'tables'), ('S', 'sequences'), ('n', 'schemas'), ('f', 'routines'), ('T', 'types')) as k (type, name)
            on k.type = d.defaclobjtype::text
        where d.defaclrole = quote_ident(current_user)::regrole
            and (d.defaclnamespace = 0 or d.defaclnamespace::regnamespace::text in ('public', 'imports'))
    loop
        if object.grantees is not null then
            execute format('alter default privileges %s revoke all on %s from %s', object.place, object.kind, object.grantees);
        end if;
    end loop;
    if to_regprocedure('public.keep_partitions_ahead(integer)') is not null then
        revoke all on function public.keep_partitions_ahead(integer) from public cascade;
    end if;
    if ours is null then
        return;
    end if;
    execute format('revoke all on schema public from %s cascade', ours);
    for object in
        select p.oid::regprocedure as name
        from pg_proc as p
        join pg_namespace as n on n.oid = p.pronamespace
        where p.proowner = quote_ident(current_user)::regrole and p.proacl is not null and n.nspname in ('public', 'imports')
    loop
        execute format('revoke all on routine %s from %s cascade', object.name, ours);
    end loop;
end
$$

-- name: grant
-- What the migrations give, as they wrote it down.
call public.grant_to_callytics_roles()
