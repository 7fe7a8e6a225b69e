-- Every database: its owner, its settings, and who may do what with it.
select
    json_object_agg(d.datname, json_build_object(
        'owner', pg_get_userbyid(d.datdba),
        'settings',
        coalesce((select s.setconfig from pg_db_role_setting as s where s.setdatabase = d.oid and s.setrole = 0), '{}'),
        'privileges', array(
            select
                array[
                    case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee) end,
                    lower(a.privilege_type),
                    case when a.is_grantable then 'grantable' else '' end
                ]
            from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) as a
            where a.grantee <> d.datdba
            order by 1
        )
    ))
from pg_database as d
