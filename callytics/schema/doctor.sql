-- What `callytics doctor` asks. Every query returns findings: level (ok, warning or error), what was found, what to do.
-- No row means that all is well. `%(name)s` are parameters, and all is ASCII, as the database may know nothing else.

-- name: owner
-- Who owns the tables, or the database where there are none.
select r.rolname
from pg_database as d
left join
    pg_class as c
    on c.relname = '_yoyo_migration' and c.relnamespace = (select oid from pg_namespace where nspname = 'public')
join pg_roles as r on r.oid = coalesce(c.relowner, d.datdba)
where d.datname = current_database()

-- name: version
select
    case when current_setting('server_version_num')::int >= 150000 then 'ok' else 'error' end,
    'PostgreSQL ' || current_setting('server_version'),
    'upgrade the server to PostgreSQL 15 or newer'

-- name: writable
-- A standby that an address still leads to takes no writes.
select
    'error', 'the server is a standby and takes no writes',
    'let POSTGRES_HOST name the primary, or every host of the cluster'
where pg_is_in_recovery()
union all
select
    'error', format('database %%s has encoding %%s', datname, pg_encoding_to_char(encoding)),
    'create it again: CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0'
from pg_database
where datname = current_database() and pg_encoding_to_char(encoding) <> 'UTF8'

-- name: tls
-- Whether this connection is encrypted.
select ssl, version, cipher
from pg_stat_ssl
where pid = pg_backend_pid()

-- name: roles
-- What the deployment's roles may do beyond what they are for.
select
    'error',
    format('role %%s has %%s', rolname, concat_ws(
        ', ',
        case when rolsuper then 'SUPERUSER' end,
        case when rolcreaterole then 'CREATEROLE' end,
        case when rolcreatedb then 'CREATEDB' end,
        case when rolreplication then 'REPLICATION' end,
        case when rolbypassrls then 'BYPASSRLS' end
    )),
    format('as a superuser: ALTER ROLE %%I NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS', rolname)
from pg_roles
where rolname in (
        %(application)s, %(owner)s, 'callytics_owner', 'callytics_user', 'callytics_readonly', 'callytics_monitor'
    )
    and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)
union all
select
    'error',
    format('role %%s is a member of %%s', member.rolname, string_agg(role.rolname, ', ' order by role.rolname)),
    format(
        'as a superuser: REVOKE %%s FROM %%I', string_agg(quote_ident(role.rolname), ', ' order by role.rolname),
        member.rolname
    )
from pg_roles as member
join pg_roles as role
    on role.rolname <> member.rolname
        and pg_has_role(member.oid, role.oid, 'member')
        and (role.rolsuper or role.rolname in (
            'callytics_owner', 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program',
            'pg_write_all_data', 'pg_read_all_data'
        ))
where member.rolname in (%(application)s, 'callytics_user', 'callytics_readonly', 'callytics_monitor')
    and member.rolname <> %(owner)s and not member.rolsuper
group by member.rolname
union all
select
    'warning',
    format('role %%s, with up to %%s connections, may be given %%s', rolname, %(connections)s, rolconnlimit),
    format(
        'as a superuser: ALTER ROLE %%I CONNECTION LIMIT %%s, or lower POSTGRES_MAX_CONNECTIONS', rolname,
        %(connections)s
    )
from pg_roles
where rolname = %(application)s and rolconnlimit >= 0 and rolconnlimit < %(connections)s
order by 1, 2

-- name: ddl
-- The application's role must not be able to change tables.
select
    case when %(application)s = %(owner)s then 'warning' else 'error' end,
    format('role %%s can change tables: it %%s', %(application)s, concat_ws(
        ' and ',
        case when has_schema_privilege(%(application)s, 'public', 'create') then 'may create in schema public' end,
        case when has_database_privilege(%(application)s, current_database(), 'create') then 'may create schemas' end,
        case when owned.names is not null then 'owns ' || owned.names end
    )),
    case
        when %(application)s = %(owner)s
            then
                'let a role of its own own the tables: POSTGRES_OWNER_USER and POSTGRES_OWNER_PASSWORD'
        else format(
                'as %%s: REVOKE CREATE ON SCHEMA public FROM %%I, PUBLIC; '
                || 'REVOKE CREATE ON DATABASE %%I FROM %%I, PUBLIC%%s',
                %(owner)s, %(application)s, current_database(), %(application)s,
                case
                    when
                        owned.names is not null
                        then format('; as a superuser: REASSIGN OWNED BY %%I TO %%I', %(application)s, %(owner)s)
                end
            )
    end
from (
    select
        case when count(*) > 3 then count(*) || ' tables' else string_agg(c.relname, ', ' order by c.relname) end
            as names
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname in ('public', 'imports')
        and c.relkind in ('r', 'p')
        and c.relowner = (select oid from pg_roles where rolname = %(application)s)
    having count(*) > 0
) as owned
right join (select) as always on true
where has_schema_privilege(%(application)s, 'public', 'create')
    or has_database_privilege(%(application)s, current_database(), 'create')
    or owned.names is not null

-- name: dml
-- The application's role must be able to read and write the rows of every table, and to read every view. 'callytics
-- grants' knows the roles by their names; a role of another name is told the statement.
select
    'error',
    format(
        'role %%s may not %%s %%s', %(application)s, privilege,
        case when count(*) > 5 then count(*) || ' tables' else string_agg(name, ', ' order by name) end
    ),
    case
        when %(application)s = 'callytics_user' then 'run ''callytics grants'''
        else format(
                'as %%s: GRANT %%s ON ALL %%sS IN SCHEMA public TO %%I', %(owner)s, privilege,
                case privilege when 'usage' then 'SEQUENCE' else 'TABLE' end, %(application)s
            )
    end
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
union all
select
    'error', format('role %%s may not use schema public', %(application)s),
    format('as %%s: GRANT USAGE ON SCHEMA public TO %%I', %(owner)s, %(application)s)
where not has_schema_privilege(%(application)s, 'public', 'usage')
union all
select
    'warning',
    format('role %%s may not call keep_partitions_ahead(integer)', %(application)s),
    case
        when %(application)s = 'callytics_user' then 'run ''callytics grants'''
        else format(
                'as %%s: GRANT EXECUTE ON FUNCTION keep_partitions_ahead(integer) TO %%I', %(owner)s, %(application)s
            )
    end
from pg_proc
where proname = 'keep_partitions_ahead' and pronamespace = (select oid from pg_namespace where nspname = 'public')
    and not has_function_privilege(%(application)s, oid, 'execute')

-- name: readonly
-- The roles that look must not be able to write.
select
    'error',
    format(
        'role %%s may write %%s', role,
        case when count(*) > 5 then count(*) || ' tables' else string_agg(name, ', ' order by name) end
    ),
    format(
        'as %%s: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public, imports FROM %%I', %(owner)s,
        role
    )
from (
    select r.rolname as role, c.oid::regclass::text as name
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    cross join pg_roles as r
    where n.nspname in ('public', 'imports') and c.relkind in ('r', 'p')
        and r.rolname in ('callytics_readonly', 'callytics_monitor') and r.rolname <> %(application)s and not r.rolsuper
        and has_table_privilege(r.oid, c.oid, 'insert, update, delete, truncate')
) as writable
group by role

-- name: public
-- PUBLIC is everybody, whichever roles come later.
select
    'error', 'everybody may create in schema public',
    format('as the owner of database %%s: REVOKE CREATE ON SCHEMA public FROM PUBLIC', current_database())
from pg_namespace as n, aclexplode(n.nspacl) as acl
where n.nspname = 'public' and acl.grantee = 0 and acl.privilege_type = 'CREATE'
union all
select
    'warning',
    format(
        'everybody may %%s database %%s',
        string_agg(
            case acl.privilege_type
                when 'TEMPORARY' then 'make temporary tables in' else lower(acl.privilege_type) || ' to'
            end,
            ' and '
        ),
        d.datname
    ),
    format(
        'as its owner: REVOKE ALL ON DATABASE %%1$I FROM PUBLIC; GRANT CONNECT ON DATABASE %%1$I TO %%2$I', d.datname,
        %(application)s
    )
from pg_database as d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) as acl
where d.datname = current_database() and acl.grantee = 0
group by d.datname
union all
select
    'error',
    format('everybody may %%s %%s', lower(string_agg(distinct acl.privilege_type, ', ')), c.oid::regclass),
    format('as %%s: REVOKE ALL ON %%s FROM PUBLIC', %(owner)s, c.oid::regclass)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace, aclexplode(c.relacl) as acl
where n.nspname in ('public', 'imports')
    and c.relkind in ('r', 'p', 'v', 'S')
    and acl.grantee = 0
    and c.relname !~ '^pg_stat_statements'
group by c.oid

-- name: indexes
-- An index that is not valid costs every write and helps no query.
select
    case when i.indisunique then 'error' else 'warning' end,
    format('index %%s of %%s is not valid', i.indexrelid::regclass, i.indrelid::regclass),
    case c.relkind
        when 'I' then 'one of its partitions lacks it: create it there and attach it'
        else format(
                'as %%s: DROP INDEX CONCURRENTLY %%s, then ''callytics migrate'' builds its own again', %(owner)s,
                i.indexrelid::regclass
            )
    end
from pg_index as i
join pg_class as c on c.oid = i.indexrelid
join pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'imports') and not (i.indisvalid and i.indisready)
    -- One that is being built is not finished, not broken.
    and not exists (select from pg_stat_progress_create_index as building where building.index_relid = i.indexrelid)
order by 2

-- name: constraints
-- An import leaves a foreign key NOT VALID where rows lack their parent.
select
    'warning',
    format('constraint %%s of %%s is not validated: there are rows that break it', k.conname, k.conrelid::regclass),
    format(
        'see ''callytics report'', correct the rows, then as %%s: ALTER TABLE %%s VALIDATE CONSTRAINT %%I', %(owner)s,
        k.conrelid::regclass, k.conname
    )
from pg_constraint as k
join pg_namespace as n on n.oid = k.connamespace
where n.nspname in ('public', 'imports') and not k.convalidated
order by k.conrelid::regclass::text, k.conname

-- name: imports
-- Imports that did not come to their end. A running one holds the importer's advisory lock.
with running as (
    select exists(
        select from pg_locks
        where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
            and (classid::bigint << 32) + objid::bigint = %(import_lock)s and granted
    ) as now
)
select
    case when running.now then 'ok' else 'warning' end,
    format(
        'import %%s of %%s, started %%s, %%s', r.id, string_agg(s.path, ', ' order by s.id),
        to_char(r.started_at, 'YYYY-MM-DD HH24:MI TZ'),
        case when running.now then 'is running' else 'is not finished' end
    ),
    format('finish it: callytics import %%s', string_agg(s.path, ' ' order by s.id))
from imports.runs as r
join imports.sources as s on s.run_id = r.id
cross join running
where r.status = 'running'
group by r.id, running.now
union all
select
    'error',
    format(
        'import %%s set %%s %%s of %%s aside and did not bring %%s back', d.run_id, count(*),
        case when count(*) = 1 then 'index or foreign key' else 'indexes and foreign keys' end,
        string_agg(distinct d.table_name, ', '), case when count(*) = 1 then 'it' else 'them' end
    ),
    'give the same ''callytics import'' again: it goes on where it ended and restores them'
from imports.definitions as d
cross join running
where d.restored_at is null and not running.now
group by d.run_id
union all
select
    'error', format('verification of import %%s found differences', r.id),
    format('see what differs: callytics report --import %%s', r.id)
from imports.runs as r
where r.status = 'different'

-- name: endless_tables
-- The tables partitioned by month, with their default partition.
select parent.relname, fallback.relname
from pg_partitioned_table as p
join pg_class as parent on parent.oid = p.partrelid
join pg_class as fallback on fallback.oid = p.partdefid
join pg_namespace as n on n.oid = parent.relnamespace
where n.nspname = 'public'
order by 1

-- name: partitions_ahead
-- Without next month's partition the default one takes next month's rows.
select
    'warning',
    format('no partition for %%s in %%s', months, string_agg(parent, ', ' order by parent)),
    'run ''callytics partitions ahead'', now and at least every other month'
from (
    select parent, string_agg(to_char(month, 'YYYY-MM'), ' and ' order by month) as months
    from unnest(%(tables)s::text[]) as parent
    cross join (
        select date_trunc('month', now() at time zone 'UTC') + make_interval(months => ahead) as month
        from generate_series(0, 1) as ahead
    ) as needed
    where to_regclass(format('public.%%I', parent || to_char(month, '_YYYY_MM'))) is null
    group by parent
) as missing
group by months
order by 2

-- name: in_default_partition
-- Rows that belong to a month and are in the default partition; those without a date, or out of range, belong there.
select
    'warning',
    format(
        '%%s holds rows of months of their own, from %%s to %%s', %(fallback)s, to_char(first, 'YYYY-MM'),
        to_char(last, 'YYYY-MM')
    ),
    format('as %%s: SELECT ensure_month_partitions(%%L, %%L, %%L)', %(owner)s, %(parent)s, first::date, last::date)
from (
    select min(created_at) at time zone 'UTC' as first, max(created_at) at time zone 'UTC' as last
    from only({fallback})
    where created_at >= '2000-01-01 00:00:00+00' and created_at < '2100-01-01 00:00:00+00'
) as misplaced
where first is not null

-- name: settings
-- What must not be set otherwise, with the reason; then what waits for a restart.
select wanted.level, format('%%s is %%s: %%s', wanted.name, s.setting, wanted.reason), wanted.fix
from (
    values
    ('fsync', 'on', 'error', 'a power cut destroys the database', 'set fsync = on and reload'),
    ('full_page_writes', 'on', 'error', 'a power cut destroys pages', 'set full_page_writes = on and reload'),
    (
        'zero_damaged_pages', 'off', 'error', 'damaged rows vanish without a word',
        'set zero_damaged_pages = off and reload'
    ),
    (
        'ignore_checksum_failure', 'off', 'error', 'damaged pages are read as if they were whole',
        'set ignore_checksum_failure = off and reload'
    ),
    (
        'data_checksums', 'on', 'warning', 'a damaged disk goes unnoticed',
        'stop the server and run pg_checksums --enable'
    ),
    (
        'password_encryption', 'scram-sha-256', 'error', 'new passwords are kept as MD5',
        'set password_encryption = ''scram-sha-256'', reload and set the passwords again'
    ),
    ('autovacuum', 'on', 'error', 'tables bloat until the server stops', 'set autovacuum = on and reload'),
    ('track_counts', 'on', 'error', 'autovacuum does not see what changed', 'set track_counts = on and reload'),
    (
        'synchronous_commit', 'on', 'warning', 'a crash may lose what was committed last',
        'set synchronous_commit = on and reload'
    ),
    (
        'TimeZone', 'UTC', 'warning', 'times without an offset are taken for that zone''s',
        'set timezone = ''UTC'' and reload'
    ),
    (
        'log_statement', 'none', 'warning', 'what is said in calls is written to the log',
        'set log_statement = ''ddl'' or ''none'' and reload'
    )
) as wanted (name, value, level, reason, fix)
join pg_settings as s using (name)
where s.setting <> wanted.value
    and not (s.name = 'TimeZone' and s.setting in ('Etc/UTC', 'Etc/UCT', 'UCT', 'Zulu', 'GMT', 'Etc/GMT'))
    and not (s.name = 'log_statement' and s.setting = 'ddl')
    and not (s.name = 'synchronous_commit' and s.setting in ('remote_write', 'remote_apply'))
union all
select 'warning', format('%%s wait for a restart', string_agg(name, ', ' order by name)), 'restart the server'
from pg_settings
where pending_restart
having count(*) > 0
union all
select
    'error',
    format('POSTGRES_MAX_CONNECTIONS is %%s, but the server has %%s for all together', %(connections)s, free),
    'lower POSTGRES_MAX_CONNECTIONS, or raise max_connections and restart the server'
from (select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as free)
        as slots
where free < %(connections)s

-- name: disk
-- What fills the disk, as far as SQL can tell: free space is not to be seen from inside.
select
    'ok', format('database %%s takes %%s', current_database(), pg_size_pretty(pg_database_size(current_database()))), ''
union all
select
    case
        when active and wal_status <> 'lost' then 'ok' when wal_status = 'lost' or held > 1024 ^ 3 then 'error' else
            'warning'
    end,
    format(
        'replication slot %%s %%s and keeps %%s of WAL', slot_name,
        case when active then 'is in use' else 'is not in use' end, coalesce(pg_size_pretty(held), 'none')
    ),
    format('bring its standby back, or as a superuser: SELECT pg_drop_replication_slot(%%L)', slot_name)
from (
    select *, pg_wal_lsn_diff(case when not pg_is_in_recovery() then pg_current_wal_lsn() end, restart_lsn) as held
    from pg_replication_slots
) as slots
union all
select
    'error',
    format(
        'archiving %%s fails since %%s: WAL fills the disk', last_failed_wal,
        to_char(last_failed_time, 'YYYY-MM-DD HH24:MI TZ')
    ),
    'see the server''s log for what archive_command says'
from pg_stat_archiver
where last_failed_time > coalesce(last_archived_time, '-infinity') and current_setting('archive_mode') <> 'off'

-- name: identities
-- Tables whose ids are given by a sequence.
select c.relname, a.attname, pg_get_serial_sequence(c.oid::regclass::text, a.attname)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attidentity <> '' and not a.attisdropped
where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition
order by 1

-- name: sequence
-- A sequence that lies behind the largest id makes the next insert fail, or gives an id a second time.
select
    'error',
    format('the next id of %%s would be %%s, but there is a row %%s', %(table)s, given.next, taken.highest),
    format('as %%s: SELECT setval(%%L, %%s)', %(owner)s, %(sequence)s::text, taken.highest)
from (select case when is_called then last_value + 1 else last_value end as next from {sequence}) as given
cross join (select max({column}) as highest from {table}) as taken
where taken.highest >= given.next

-- name: transactions
-- Old transactions keep vacuum from removing anything. Of other roles' sessions only their own members see the age.
select
    'warning',
    format(
        '%%s (process %%s) has a transaction open since %%s',
        coalesce(nullif(application_name, ''), 'a session') || ' of ' || usename, pid,
        to_char(xact_start, 'YYYY-MM-DD HH24:MI TZ')
    ),
    format('end that session, or as its role: SELECT pg_terminate_backend(%%s)', pid)
from pg_stat_activity
where datname = current_database()
    and xact_start < now() - %(old)s::interval
    and pid <> pg_backend_pid()
    and backend_type = 'client backend'
union all
select
    'warning', format('transaction %%s is prepared since %%s', gid, to_char(prepared, 'YYYY-MM-DD HH24:MI TZ')),
    format('as %%s: COMMIT PREPARED or ROLLBACK PREPARED %%L', owner, gid)
from pg_prepared_xacts
where database = current_database() and prepared < now() - %(old)s::interval
union all
select
    case when age(datfrozenxid) > 1500000000 then 'error' else 'warning' end,
    format(
        'the oldest row of %%s was not frozen for %%s transactions: at 2 billion the server stops', datname,
        age(datfrozenxid)
    ),
    'end old transactions, then as a superuser: VACUUM (FREEZE)'
from pg_database
where datname = current_database() and age(datfrozenxid) > 1000000000
