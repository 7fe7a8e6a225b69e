-- What somebody's files say by which a query's answer may differ, what else Debian's postgresql.conf says, neither of
-- which Patroni has other members read, and the locales that whoever has the same data must know. The files are read as
-- they are now: what was just written into adopted.conf counts in place of what it says again.
-- In English, as categories are asked for below, which are translated like messages.
set lc_messages to 'C';

select
    json_build_object(
        'answers', coalesce(json_object_agg(lower(f.name), f.setting) filter (where f.answers), '{}'::json),
        'more',
        coalesce(
            json_object_agg(lower(f.name), f.setting) filter (
                where not f.answers and f.sourcefile ~ '/postgresql\.conf$'
            ),
            '{}'::json
        ),
        'locales', array(
            select distinct l.locale
            from (
                select unnest(array[d.datcollate, d.datctype])
                from pg_database as d
                union all
                select s.reset_val
                from pg_settings as s
                where s.name like 'lc\_%'
            ) as l (locale)
            where l.locale <> ''
            order by 1
        )
    )
from
    (
        select
            f.name,
            f.setting,
            f.sourcefile,
            coalesce(
                s.name = 'log_timezone'
                or s.category like 'Version and Platform Compatibility / %'
                or (
                    s.category like 'Client Connection Defaults / %'
                    and s.category <> 'Client Connection Defaults / Shared Library Preloading'
                ),
                false
            ) as answers
        from pg_file_settings as f
        left join pg_settings as s on lower(s.name) = lower(f.name)
        where
            f.applied
            and f.sourcefile ~ '^/etc/postgresql/.*/(postgresql\.conf|conf\.d/[^/]*)$'
            and f.sourcefile !~ '/conf\.d/callytics\.conf$'
    ) as f
