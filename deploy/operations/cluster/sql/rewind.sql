-- Whether the role that rewinds a former primary may read the primary's files.
-- https://www.postgresql.org/docs/15/app-pgrewind.html
select to_json(
    coalesce(
        (
            select bool_and(has_function_privilege('callytics_rewinder', f.name, 'execute'))
            from (
                values
                ('pg_catalog.pg_ls_dir(text, boolean, boolean)'),
                ('pg_catalog.pg_stat_file(text, boolean)'),
                ('pg_catalog.pg_read_binary_file(text)'),
                ('pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)')
            ) as f (name)
            where exists (select from pg_roles as r where r.rolname = 'callytics_rewinder')
        ),
        false
    )
)
