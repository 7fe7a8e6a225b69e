-- Whether the server runs with what its files say: when they were read, what is wrong in them, what waits for a
-- restart, and what somebody set past the files, by ALTER SYSTEM or ALTER ROLE ALL.
select json_build_object(
    'standby', pg_is_in_recovery(),
    'loaded', extract(epoch from pg_conf_load_time()),
    'checksums', current_setting('data_checksums') = 'on',
    'errors', array(
        select format('%s line %s: %s %s', f.sourcefile, f.sourceline, f.name, f.error)
        from pg_file_settings as f
        where f.error is not null and f.error <> 'setting could not be applied'
        order by 1
    ),
    'pending_restart', array(select s.name from pg_settings as s where s.pending_restart order by 1),
    'altered',
    array(select distinct f.name from pg_file_settings as f where f.sourcefile ~ 'postgresql\.auto\.conf$' order by 1),
    'everybody',
    coalesce((select s.setconfig from pg_db_role_setting as s where s.setrole = 0 and s.setdatabase = 0), '{}'),
    'hba_errors',
    array(
        select format('line %s: %s', h.line_number, h.error)
        from pg_hba_file_rules as h
        where h.error is not null
        order by 1
    )
)
