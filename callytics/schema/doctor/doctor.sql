-- What `callytics doctor` asks. Every query returns facts, and findings.py has the words for them. `%(name)s` are
-- parameters, and all is ASCII, as the database may know nothing else.

-- name: owner
-- Who owns the tables, or the database where there are none.
select r.rolname as owner
from pg_database as d
left join
    pg_class as c
    on c.relname = '_yoyo_migration' and c.relnamespace = (select oid from pg_namespace where nspname = 'public')
join pg_roles as r on r.oid = coalesce(c.relowner, d.datdba)
where d.datname = current_database()

-- name: may_see_migrations
-- Whether this login may read which migrations are applied, or there are none.
select coalesce(bool_and(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')), true)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relname = '_yoyo_migration'

-- name: identifiers
-- How PostgreSQL spells the roles and the database in a statement.
select
    quote_ident(%(application)s) as as_application,
    quote_ident(%(owner)s) as as_owner,
    quote_ident(current_database()) as as_database

-- name: version
select current_setting('server_version') as version, current_setting('server_version_num')::int as number

-- name: standby
-- A standby that an address still leads to takes no writes.
select true as standby
where pg_is_in_recovery()

-- name: read_only_default
-- What makes transactions read-only: a setting of the database, of one of our roles, or of the server. This session is
-- read-only by its own choice, hence the value that it would have otherwise.
select
    case
        when s.setdatabase is null then 'SYSTEM'
        when s.setrole = 0 then 'DATABASE ' || quote_ident(current_database())
        when s.setdatabase = 0 then 'ROLE ' || quote_ident(r.rolname)
        else 'ROLE ' || quote_ident(r.rolname) || ' IN DATABASE ' || quote_ident(current_database())
    end as place
from pg_settings as p
left join
    pg_db_role_setting as s
    on s.setconfig::text like '%%default_transaction_read_only=%%'
        and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
        and (s.setrole = 0 or s.setrole = (select oid from pg_roles where rolname = current_user))
left join pg_roles as r on r.oid = s.setrole
where p.name = 'default_transaction_read_only' and p.reset_val = 'on'

-- name: encoding
-- An encoding that can't hold every text.
select datname as database, pg_encoding_to_char(encoding) as encoding
from pg_database
where datname = current_database() and pg_encoding_to_char(encoding) <> 'UTF8'

-- name: tls
-- Whether this connection is encrypted.
select ssl as encrypted, version, cipher
from pg_stat_ssl
where pid = pg_backend_pid()

-- name: owners
-- Whose our tables, views, sequences and routines are, where they are not the owner's.
select
    pg_get_userbyid(owner) as role,
    array_agg(name order by name) as names
from (
    select relowner as owner, oid::regclass::text as name
    from pg_class
    where relkind in ('r', 'p', 'v', 'S')
    union all
    select proowner, oid::regprocedure::text
    from pg_proc
) as object
where name = any(%(names)s) and pg_get_userbyid(owner) <> %(owner)s
group by owner

-- name: attributes
-- What our roles may do beyond what they are for.
select
    rolname as role,
    quote_ident(rolname) as identifier,
    concat_ws(
        ', ',
        case when rolsuper then 'SUPERUSER' end,
        case when rolcreaterole then 'CREATEROLE' end,
        case when rolcreatedb then 'CREATEDB' end,
        case when rolreplication then 'REPLICATION' end,
        case when rolbypassrls then 'BYPASSRLS' end
    ) as attributes
from pg_roles
where rolname = any(%(roles)s) and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)

-- name: memberships
-- Roles of others that ours act as, the owner's and those that reach every table or the server's files.
select
    member.rolname as role,
    quote_ident(member.rolname) as identifier,
    string_agg(role.rolname, ', ' order by role.rolname) as names,
    string_agg(quote_ident(role.rolname), ', ' order by role.rolname) as identifiers
from pg_roles as member
join pg_roles as role
    on role.rolname <> member.rolname
        and pg_has_role(member.oid, role.oid, 'member')
        and (
            role.rolsuper
            or role.rolname in (
                'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_write_all_data',
                'pg_read_all_data'
            )
            or role.rolname = %(owners)s
        )
where member.rolname = any(%(members)s) and member.rolname <> %(owner)s and not member.rolsuper
group by member.rolname

-- name: connection_limit
-- A limit of the role below what the pool may open.
select rolconnlimit as allowed
from pg_roles
where rolname = %(application)s and rolconnlimit >= 0 and rolconnlimit < %(connections)s

-- name: ddl
-- By what the application's role could change tables.
select
    has_schema_privilege(%(application)s, 'public', 'create') as in_schema,
    has_database_privilege(%(application)s, current_database(), 'create') as schemas,
    array(
        select c.relname::text
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname in ('public', 'imports')
            and c.relkind in ('r', 'p')
            and c.relowner = (select oid from pg_roles where rolname = %(application)s)
        order by 1
    ) as owned

-- name: owner_creates
-- What the owner lacks to make indexes and partitions, and to stage what a sync writes: the database may be another's.
select privilege, thing
from (
    values
    ('CREATE', 'SCHEMA public', has_schema_privilege(%(owner)s, 'public', 'create')),
    (
        'TEMPORARY',
        'DATABASE ' || quote_ident(current_database()),
        has_database_privilege(%(owner)s, current_database(), 'temporary')
    )
) as needed (privilege, thing, granted)
where not granted

-- name: dml
-- What the application's role lacks to read and write the rows of every table, as far as it is meant to, and to read
-- every view.
select privilege, array_agg(name order by name) as names
from (
    select c.oid::regclass::text as name, privilege
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    cross join unnest(array['select', 'insert', 'update', 'delete', 'usage']) as privilege
    where n.nspname = 'public'
        and (
            c.relkind in ('r', 'p')
            and privilege <> 'usage'
            and (privilege = 'select' or c.relname !~ '^(_?yoyo|_callytics)_')
            -- By name, as whoever may not use the schema can't call application_privileges(), which says it.
            and (
                privilege in ('select', 'insert')
                or coalesce(pg_partition_root(c.oid), c.oid)::regclass::text
                !~ '^(public\.)?(agent_activity_logs|audit_log)$'
            )
            and (privilege <> 'delete' or c.relname not in ('agent_accounts', 'agent_profiles'))
            or c.relkind = 'v' and privilege = 'select' and c.relname !~ '^pg_stat_statements'
            or c.relkind = 'S' and privilege = 'usage'
        )
        -- A CASE, as AND decides nothing about the order: asked of the wrong kind, either function fails.
        and case
            when c.relkind = 'S' then not has_sequence_privilege(%(application)s, c.oid, 'usage')
            when privilege = 'usage' then false
            else not has_table_privilege(%(application)s, c.oid, privilege)
        end
) as lacking
group by privilege

-- name: schema_usage
-- Without it no table can be named.
select true as lacking
where not has_schema_privilege(%(application)s, 'public', 'usage')

-- name: partitions_call
-- Without it no timer of the application's can make months to come.
select true as lacking
from pg_proc
where proname = 'keep_partitions_ahead'
    and pronamespace = (select oid from pg_namespace where nspname = 'public')
    and not has_function_privilege(%(application)s, oid, 'execute')

-- name: readonly
-- The roles that look must not be able to write.
select role, quote_ident(role) as identifier, array_agg(name order by name) as names
from (
    select r.rolname as role, c.oid::regclass::text as name
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    cross join pg_roles as r
    where n.nspname in ('public', 'imports')
        and c.relkind in ('r', 'p')
        and r.rolname = any(%(readers)s)
        and r.rolname <> %(application)s
        and not r.rolsuper
        and has_table_privilege(r.oid, c.oid, 'insert, update, delete, truncate')
) as writable
group by role

-- name: trails
-- A trail that the application could change would prove nothing against whoever has got its login.
select lower(string_agg(distinct privilege, ', ')) as privileges, array_agg(distinct c.oid::regclass::text) as names
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
join pg_roles as application on application.rolname = %(application)s
cross join unnest(array['update', 'delete', 'truncate']) as privilege
where n.nspname = 'public'
    and c.relkind in ('r', 'p')
    and public.is_trail(c.oid)
    -- One role for everything is another check's.
    and not application.rolsuper
    and c.relowner <> application.oid
    and has_table_privilege(application.oid, c.oid, privilege)
having count(*) > 0

-- name: secrets
-- Hashes of passwords and ids of sessions are for the application only.
select r.rolname as role, array_agg(column_name.of_table order by column_name.of_table) as names
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
cross join format('%%s.%%I', c.oid::regclass, a.attname) as column_name (of_table)
cross join pg_roles as r
where n.nspname in ('public', 'imports')
    and c.relkind in ('r', 'p')
    and r.rolname = any(%(readers)s)
    and r.rolname <> %(application)s
    and not r.rolsuper
    and public.is_secret(c.oid, a.attname)
    and has_column_privilege(r.oid, c.oid, a.attnum, 'select')
group by r.rolname

-- name: public_schema
-- PUBLIC is everybody, whichever roles come later.
select current_database() as database
from pg_namespace as n
cross join aclexplode(n.nspacl) as acl
where n.nspname = 'public' and acl.grantee = 0 and acl.privilege_type = 'CREATE'

-- name: public_database
select d.datname as database, array_agg(acl.privilege_type) as privileges
from pg_database as d
cross join aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) as acl
where d.datname = current_database() and acl.grantee = 0
group by d.datname

-- name: public_tables
select c.oid::regclass::text as relation, lower(string_agg(distinct acl.privilege_type, ', ')) as privileges
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
cross join aclexplode(c.relacl) as acl
where n.nspname in ('public', 'imports')
    and c.relkind in ('r', 'p', 'v', 'S')
    and acl.grantee = 0
    and c.relname !~ '^pg_stat_statements'
group by c.oid

-- name: indexes
-- An index that is not valid costs every write and helps no query.
select
    i.indexrelid::regclass::text as index,
    i.indrelid::regclass::text as relation,
    i.indisunique as is_unique,
    c.relkind = 'I' as is_partitioned
from pg_index as i
join pg_class as c on c.oid = i.indexrelid
join pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'imports')
    and not (i.indisvalid and i.indisready)
    -- One that is being built is not finished, not broken.
    and not exists (select from pg_stat_progress_create_index as building where building.index_relid = i.indexrelid)
order by 1

-- name: constraints
-- An import leaves a foreign key NOT VALID where rows lack their parent.
select k.conname as name, quote_ident(k.conname) as identifier, k.conrelid::regclass::text as relation
from pg_constraint as k
join pg_namespace as n on n.oid = k.connamespace
where n.nspname in ('public', 'imports') and not k.convalidated
order by k.conrelid::regclass::text, k.conname

-- name: import_runs
-- Whether an import runs now: it holds the importer's advisory lock.
select
    exists(
        select
        from pg_locks
        where locktype = 'advisory'
            and database = (select oid from pg_database where datname = current_database())
            and (classid::bigint << 32) + objid::bigint = %(import_lock)s
            and granted
    ) as running

-- name: unfinished
-- Imports that did not come to their end.
select
    r.id as import,
    to_char(r.started_at, 'YYYY-MM-DD HH24:MI TZ') as started,
    array_agg(s.path order by s.id) as paths
from imports.runs as r
join imports.sources as s on s.run_id = r.id
where r.status = 'running'
group by r.id

-- name: deferred
-- Indexes and foreign keys that an import dropped for its load and did not bring back.
select run_id as import, count(*) as number, string_agg(distinct table_name, ', ') as tables
from imports.definitions
where restored_at is null
group by run_id

-- name: different
-- Imports whose verification found differences.
select id as import
from imports.runs
where status = 'different'

-- name: endless_tables
-- The tables partitioned by month, with their default partition.
select parent.relname as parent, fallback.relname as fallback
from pg_partitioned_table as p
join pg_class as parent on parent.oid = p.partrelid
join pg_class as fallback on fallback.oid = p.partdefid
join pg_namespace as n on n.oid = parent.relnamespace
where n.nspname = 'public'
order by 1

-- name: partitions_ahead
-- Without next month's partition the default one takes next month's rows.
select months, string_agg(parent, ', ' order by parent) as parents
from (
    select parent, string_agg(to_char(month, 'YYYY-MM'), ' and ' order by month) as months
    from unnest(%(tables)s::text[]) as parent
    cross join (
        select date_trunc('month', now() at time zone 'UTC') + make_interval(months => ahead) as month
        from generate_series(0, 1) as ahead
    ) as needed
    where to_regclass('public.' || quote_ident(parent || to_char(month, '_YYYY_MM'))) is null
    group by parent
) as missing
group by months
order by months

-- name: in_default_partition
-- Rows that belong to a month and are in the default partition; those without a date, or out of range, belong there.
select first::date as first, last::date as last
from (
    select min(created_at) at time zone 'UTC' as first, max(created_at) at time zone 'UTC' as last
    from only({fallback})
    where created_at >= '2000-01-01 00:00:00+00' and created_at < '2100-01-01 00:00:00+00'
) as misplaced
where first is not null

-- name: settings
-- As other sessions have them: ours has set some for itself.
select name, reset_val as setting, source, quote_ident(current_user) as role
from pg_settings
where name = any(%(settings)s)

-- name: pending_restart
select string_agg(name, ', ' order by name) as names
from pg_settings
where pending_restart
having count(*) > 0

-- name: free_connections
-- What the server has for all roles together.
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as free

-- name: size
-- What fills the disk, as far as SQL can tell: free space is not to be seen from inside.
select current_database() as database, pg_size_pretty(pg_database_size(current_database())) as size

-- name: slots
-- What replication slots keep of the WAL; bytes, and as text.
select slot_name as slot, active, wal_status = 'lost' as lost, held::bigint as bytes, pg_size_pretty(held) as size
from (
    select *, pg_wal_lsn_diff(case when not pg_is_in_recovery() then pg_current_wal_lsn() end, restart_lsn) as held
    from pg_replication_slots
) as slots

-- name: archiving
select last_failed_wal as wal, to_char(last_failed_time, 'YYYY-MM-DD HH24:MI TZ') as since
from pg_stat_archiver
where last_failed_time > coalesce(last_archived_time, '-infinity') and current_setting('archive_mode') <> 'off'

-- name: identities
-- Tables whose ids are given by a sequence.
select
    c.relname as relation,
    a.attname,
    pg_get_serial_sequence(c.oid::regclass::text, a.attname) as sequence_name,
    c.relkind = 'p' as is_partitioned
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attidentity <> '' and not a.attisdropped
where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition
order by 1

-- name: sequence
-- A sequence that lies behind the largest id makes the next insert fail, or gives an id a second time.
select given.next, taken.highest
from (select case when is_called then last_value + 1 else last_value end as next from {sequence}) as given
cross join (select max({column}) as highest from {table}) as taken
where taken.highest >= given.next

-- name: doubles
-- Ids of a partitioned table that stand in several partitions: a primary key holds in one.
select count(*) as number, min(id) as id
from (
    select {column} as id
    from {table}
    group by {column}
    having count(*) > 1
) as twice
having count(*) > 0

-- name: transactions
-- Old transactions keep vacuum from removing anything. Of other roles' sessions only their own members see the age.
select
    coalesce(nullif(application_name, ''), 'a session') || ' of ' || usename as session,
    pid,
    to_char(xact_start, 'YYYY-MM-DD HH24:MI TZ') as since
from pg_stat_activity
where datname = current_database()
    and xact_start < now() - %(old)s::interval
    and pid <> pg_backend_pid()
    and backend_type = 'client backend'

-- name: prepared
select gid, owner, to_char(prepared, 'YYYY-MM-DD HH24:MI TZ') as since
from pg_prepared_xacts
where database = current_database() and prepared < now() - %(old)s::interval

-- name: unfrozen
-- At two billion transactions the server stops, so that numbers are not given twice.
select datname as database, age(datfrozenxid) as age
from pg_database
where datname = current_database() and age(datfrozenxid) > 1000000000
