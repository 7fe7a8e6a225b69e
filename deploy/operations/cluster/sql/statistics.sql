-- Where pg_stat_statements is, and who may look into that schema; null where it is not there.
select
    coalesce((
        select
            json_build_object(
                'schema', n.nspname,
                'roles', array(
                    select case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee) end as role
                    from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
                    where a.grantee <> n.nspowner
                    order by 1
                )
            )
        from pg_extension as e
        join pg_namespace as n on n.oid = e.extnamespace
        where e.extname = 'pg_stat_statements'
    ), 'null'::json)
