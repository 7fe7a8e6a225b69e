-- Every role with its attributes, memberships and settings. Of a verifier only its salt and its SHA-256 leave the
-- server.
select
    json_object_agg(r.rolname, json_build_object(
        'superuser', r.rolsuper,
        'createdb', r.rolcreatedb,
        'createrole', r.rolcreaterole,
        'inherit', r.rolinherit,
        'login', r.rolcanlogin,
        'replication', r.rolreplication,
        'bypassrls', r.rolbypassrls,
        'connection_limit', r.rolconnlimit,
        'valid_until', r.rolvaliduntil,
        'password', case when r.rolpassword is null then null else json_build_object(
                    'iterations', (regexp_match(r.rolpassword, '^SCRAM-SHA-256\$(\d+):([^$]+)\$'))[1]::int,
                    'salt', (regexp_match(r.rolpassword, '^SCRAM-SHA-256\$(\d+):([^$]+)\$'))[2],
                    'fingerprint', encode(sha256(r.rolpassword::bytea), 'hex')
                )
        end,
        'member_of', array(
            select g.rolname
            from pg_auth_members as m
            join pg_roles as g on g.oid = m.roleid
            where m.member = r.oid
            order by 1
        ),
        'administers', array(
            select g.rolname
            from pg_auth_members as m
            join pg_roles as g on g.oid = m.roleid
            where m.member = r.oid and m.admin_option
            order by 1
        ),
        'settings',
        coalesce((select s.setconfig from pg_db_role_setting as s where s.setrole = r.oid and s.setdatabase = 0), '{}'),
        'database_settings', array(
            select d.datname
            from pg_db_role_setting as s
            join pg_database as d on d.oid = s.setdatabase
            where s.setrole = r.oid
            order by 1
        )
    ))
from pg_authid as r
where r.rolname !~ '^pg_'
