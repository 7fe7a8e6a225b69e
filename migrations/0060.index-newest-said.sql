-- transactional: false
-- depends: 0058.application-role
-- What was said, newest first: search walks back through it window by window, where (coalesce(created_at, '-infinity'), id) lies between two
-- rows, so that a page costs what the page holds and not what there is.
-- CREATE INDEX CONCURRENTLY does not know partitioned tables: the partitions are indexed one by one, each in a transaction of its own, so that
-- writers wait for the index of their month only. The tables' own indexes then take them all up at once.

do $$
declare
    part record;
begin
    for part in
        select tree.relid::regclass as name, c.relname
        from unnest(array['transcriptions', 'utterances']::regclass[]) as parent
        cross join pg_partition_tree(parent) as tree
        join pg_class as c on c.oid = tree.relid
        where tree.isleaf
        order by c.relname
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

create index if not exists transcriptions_newest_idx on transcriptions (coalesce(created_at, '-infinity'::timestamptz), id);

create index if not exists utterances_newest_idx on utterances (coalesce(created_at, '-infinity'::timestamptz), id);
