-- Who owns the schema public, and what everybody may do with it.
select
    json_build_object(
        'owner', pg_get_userbyid(n.nspowner),
        'public', array(
            select lower(a.privilege_type)
            from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
            where a.grantee = 0
            order by 1
        )
    )
from pg_namespace as n
where n.nspname = 'public'
