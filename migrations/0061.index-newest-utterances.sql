-- transactional: false
-- depends: 0060.index-newest-transcriptions
-- What was said, newest first, as in transcriptions.

do $$
declare
    part record;
begin
    for part in
        select relid::regclass as name, relname
        from pg_partition_tree('utterances')
        join pg_class on oid = relid
        where isleaf
        order by relname
    loop
        perform set_config('lock_timeout', '3s', true);
        -- The name that PostgreSQL gives the index of a month to come.
        execute format(
            'create index if not exists %I on %s (coalesce(created_at, ''-infinity''::timestamptz), id)',
            part.relname || '_coalesce_id_idx', part.name
        );
        commit;
    end loop;
end
$$;

create index if not exists utterances_newest_idx on utterances (coalesce(created_at, '-infinity'::timestamptz), id);
