-- Takes these indexes away, in the partitions too, also those that a migration that was killed had indexed alone.
drop index if exists transcriptions_newest_idx, utterances_newest_idx;

do $$
declare
    part text;
begin
    for part in
        select c.relname
        from unnest(array['transcriptions', 'utterances']::regclass[]) as parent
        cross join pg_partition_tree(parent) as tree
        join pg_class as c on c.oid = tree.relid
        where tree.isleaf
    loop
        execute format('drop index if exists %I', part || '_coalesce_id_idx');
    end loop;
end
$$;
