"""Runs on an application host, in Callytics' virtual environment, as the owner whose credentials the env file has.

``schema.py state ENV_FILE`` prints as JSON which migrations are pending and whether the roles have the privileges that
the migrations' procedure gives, no more and no fewer; ``schema.py grant ENV_FILE`` makes it so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from psycopg2.extensions import cursor as Cursor

from callytics.postgres import connect
from callytics.schema.migrate import pending
from callytics.settings import Settings

THERE = "select to_regprocedure('public.grant_to_callytics_roles()') is not null"

PRIVILEGES = """
select 'relation', c.oid, 0, a.grantee, a.privilege_type, a.is_grantable
from pg_class as c
cross join aclexplode(c.relacl) as a
where c.relowner = current_user::regrole
union all
select 'column', t.attrelid, t.attnum, a.grantee, a.privilege_type, a.is_grantable
from pg_attribute as t
join pg_class as c on c.oid = t.attrelid
cross join aclexplode(t.attacl) as a
where c.relowner = current_user::regrole
union all
select 'schema', n.oid, 0, a.grantee, a.privilege_type, a.is_grantable
from pg_namespace as n
cross join aclexplode(n.nspacl) as a
where n.nspname in ('public', 'imports')
union all
select 'routine', p.oid, 0, a.grantee, a.privilege_type, a.is_grantable
from pg_proc as p
cross join aclexplode(p.proacl) as a
where p.proowner = current_user::regrole
union all
select 'default', d.defaclnamespace, ascii(d.defaclobjtype::text), a.grantee, a.privilege_type, a.is_grantable
from pg_default_acl as d
cross join aclexplode(d.defaclacl) as a
where d.defaclrole = current_user::regrole
"""

REVOKE = """
do $$
declare
    roles constant text := (
        select string_agg(quote_ident(rolname), ', ')
        from pg_roles
        where rolname in ('callytics_user', 'callytics_readonly', 'callytics_monitor')
    ) || ', public';
    relation regclass;
begin
    for relation in
        select c.oid
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where c.relowner = current_user::regrole
            and c.relkind in ('r', 'p', 'v', 'm')
            and n.nspname in ('public', 'imports')
    loop
        execute format('revoke all on table %s from %s', relation, roles);
    end loop;
    for relation in
        select c.oid
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where c.relowner = current_user::regrole and c.relkind = 'S' and n.nspname in ('public', 'imports')
    loop
        execute format('revoke all on sequence %s from %s', relation, roles);
    end loop;
    execute format('revoke all on schema public, imports from %s', roles);
    execute format('alter default privileges in schema public, imports revoke all on tables from %s', roles);
    execute format('alter default privileges in schema public, imports revoke all on sequences from %s', roles);
end
$$
"""


def privileges(cursor: Cursor) -> set[tuple[object, ...]]:
    """Return every privilege on what the owner owns."""
    cursor.execute(PRIVILEGES)
    return set(cursor)


def main(verb: str, env_file: str) -> None:
    """Print the state, or make it right."""
    connection = connect(Settings.load(environ={}, env_file=Path(env_file)), owner=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("set local lock_timeout = '5s'")
        missing = pending(connection)
        cursor.execute(THERE)
        granted = True
        if cursor.fetchone() == (True,):
            before = privileges(cursor)
            cursor.execute(REVOKE)
            cursor.execute("call public.grant_to_callytics_roles()")
            granted = privileges(cursor) == before
        if verb == "state":
            connection.rollback()
    sys.stdout.write(json.dumps({"pending": missing, "granted": granted}) + "\n")


main(*sys.argv[1:])
