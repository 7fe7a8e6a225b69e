-- Takes these indexes away, in the partitions too, also those that a migration that was killed had indexed alone.
drop index if exists transcriptions_inside_words_idx, utterances_inside_words_idx;

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
        execute format('drop index if exists %I', part || '_syllable_pairs_idx');
    end loop;
end
$$;

drop function if exists syllable_pairs(text);
