"""What a database consists of, as PostgreSQL describes it: equal catalogues are equal schemas."""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

OURS = "n.nspname in ('public', 'imports', 'rolled_back') and c.relname !~ '^(_?yoyo|_callytics)_'"

QUERIES = {
    "relations": f"""
        select c.oid::regclass::text, c.relkind::text, obj_description(c.oid, 'pg_class'),
            (
                select array_agg(acl::text order by acl::text)
                from unnest(coalesce(
                    c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner)
                )) as acl
            ),
            pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), pg_get_userbyid(c.relowner)
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where {OURS}
    """,
    "columns": f"""
        select c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relkind in ('r', 'p', 'v') and {OURS}
    """,
    "constraints": f"""
        select c.oid::regclass::text, k.conname, pg_get_constraintdef(k.oid)
        from pg_constraint as k
        join pg_class as c on c.oid = k.conrelid join pg_namespace as n on n.oid = c.relnamespace
        where k.contype <> 'n' and {OURS}
    """,
    "indexes": f"""
        select pg_get_indexdef(i.indexrelid), i.indisvalid
        from pg_index as i join pg_class as c on c.oid = i.indrelid join pg_namespace as n on n.oid = c.relnamespace
        where {OURS}
    """,
    "views": f"""
        select c.oid::regclass::text, pg_get_viewdef(c.oid)
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where c.relkind = 'v' and {OURS}
    """,
    "triggers": f"""
        select pg_get_triggerdef(t.oid)
        from pg_trigger as t join pg_class as c on c.oid = t.tgrelid join pg_namespace as n on n.oid = c.relnamespace
        where not t.tgisinternal and {OURS}
    """,
    "routines": """
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc'), p.proacl::text
        from pg_proc as p where p.pronamespace = 'public'::regnamespace
    """,
    "sequences": f"""
        select c.oid::regclass::text, s.seqstart, s.seqincrement, s.seqtypid::regtype::text
        from pg_sequence as s join pg_class as c on c.oid = s.seqrelid join pg_namespace as n on n.oid = c.relnamespace
        where {OURS}
    """,
    "default privileges": """
        select defaclnamespace::regnamespace::text, defaclobjtype::text, defaclacl::text from pg_default_acl
    """,
}

ROWS = "select count(*), coalesce(sum(hashtextextended({table}::text, 0)), 0)::text from {table}"


def catalogue(connection: Connection) -> dict[str, list[str]]:
    """Return everything there is in the application's schemas, without yoyo's tables, in an order of its own."""
    with connection.cursor() as cursor:
        found = {}
        for name, query in QUERIES.items():
            cursor.execute(query)
            found[name] = sorted(map(repr, cursor))
    connection.rollback()
    return found


def rows(connection: Connection, tables: list[str]) -> dict[str, tuple[int, str]]:
    """Return the number of rows of each table and a checksum of all their values."""
    with connection.cursor() as cursor:
        found = {}
        for table in tables:
            cursor.execute(ROWS.format(table=table))
            found[table] = cursor.fetchone()
    connection.rollback()
    return found
