-- What imports, their report and doctor ask alike.

-- name: session
-- Triggers that change rows stand still. The server looks whether its client is still there, or a killed import would
-- hold its locks for as long as an index takes to build.
select
    set_config('callytics.importing', 'on', false),
    set_config('client_connection_check_interval', '500ms', false)

-- name: try_lock
select pg_try_advisory_lock(%s)

-- name: free_connections
-- What allows the fewest connections to this role, this one included, and by which setting.
select *
from (
    select
        'role ' || rolname as what,
        rolconnlimit - (select count(*) from pg_stat_activity where usename = current_user) + 1 as free,
        'its CONNECTION LIMIT' as setting
    from pg_roles
    where rolname = current_user and rolconnlimit >= 0 and not rolsuper
    union all
    select
        'database ' || datname,
        datconnlimit - (select count(*) from pg_stat_activity where datname = current_database()) + 1,
        'its CONNECTION LIMIT'
    from pg_database
    where datname = current_database() and datconnlimit >= 0
    union all
    select
        'the server',
        current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - (select count(*) from pg_stat_activity where usesysid is not null)
        + 1,
        'max_connections'
) as limits
order by free
limit 1

-- name: may_import
-- Whether this role may do what an import does: write the tables, and change their indexes and keys.
select current_user, coalesce(bool_and(pg_has_role(c.relowner, 'usage')), false)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'imports') and c.relkind in ('r', 'p')
