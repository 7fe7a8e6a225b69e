-- name: settle
-- Set what statements of ours rely on, whatever the database, the role or a variable of libpq's has it be: how names
-- and values are written and read, which tables are meant, how transactions see each other, and that no time limit is
-- anybody else's. Says who is connected, what he may not set himself, how these settings are put back, and whether
-- this statement had a time limit.
select
    current_user,
    current_setting('session_replication_role'),
    quote_ident(session_user),
    quote_ident(current_database()),
    current_setting('statement_timeout') <> '0',
    set_config('search_path', 'public', false),
    set_config('quote_all_identifiers', 'off', false),
    set_config('standard_conforming_strings', 'on', false),
    set_config('backslash_quote', 'safe_encoding', false),
    set_config('transform_null_equals', 'off', false),
    set_config('array_nulls', 'on', false),
    set_config('datestyle', 'ISO, MDY', false),
    set_config('intervalstyle', 'postgres', false),
    set_config('timezone', 'UTC', false),
    set_config('bytea_output', 'hex', false),
    set_config('extra_float_digits', '1', false),
    set_config('client_encoding', 'UTF8', false),
    set_config('xmloption', 'content', false),
    set_config('row_security', 'on', false),
    set_config('check_function_bodies', 'on', false),
    set_config('gin_fuzzy_search_limit', '0', false),
    set_config('geqo', 'on', false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('default_transaction_deferrable', 'off', false),
    set_config('default_table_access_method', 'heap', false),
    -- A tablespace in which this role may make nothing would end a migration or an import half-way.
    case
        when current_setting('default_tablespace') <> ''
            and not has_tablespace_privilege(current_setting('default_tablespace'), 'create')
            then set_config('default_tablespace', '', false)
    end,
    -- Where others confirm what is stored, a role or a database that would not wait for them risks its loss.
    case
        when current_setting('synchronous_standby_names') <> ''
            and current_setting('synchronous_commit') in ('off', 'local')
            then set_config('synchronous_commit', 'on', false)
    end,
    -- A wait for others that was cancelled is told by a warning alone.
    case
        when current_setting('client_min_messages') = 'error'
            then set_config('client_min_messages', 'warning', false)
    end,
    set_config('statement_timeout', '0', false),
    set_config('lock_timeout', '0', false),
    set_config('idle_in_transaction_session_timeout', '0', false),
    set_config('idle_session_timeout', '0', false),
    -- Since PostgreSQL 17.
    case when current_setting('transaction_timeout', true) <> '0' then set_config('transaction_timeout', '0', false) end

-- name: outlast
-- Whom a time limit ends that had run out in the last moment of the statement before.
select 1
