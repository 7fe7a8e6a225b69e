-- Takes this index away, in the partitions too, also those that a migration that was killed had indexed alone.
drop index if exists transcriptions_newest_idx;

do $$
declare
    part text;
begin
    for part in select relname from pg_partition_tree('transcriptions') join pg_class on oid = relid where isleaf loop
        execute format('drop index if exists %I', part || '_coalesce_id_idx');
    end loop;
end
$$;
