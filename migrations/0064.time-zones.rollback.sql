-- Puts the records of how columns were read aside: the version before reads all times in the zone of the import.
set local lock_timeout = '3s';

do $$
begin
    if to_regclass('imports.zone_changes') is not null then
        alter table imports.zone_changes rename to zone_changes_rolled_back;
    end if;
    if exists(
            select from pg_attribute
            where attrelid = 'imports.tables'::regclass and attname = 'readings' and not attisdropped
        )
    then
        alter table imports.tables rename column readings to readings_rolled_back;
    end if;
end
$$;

comment on column imports.runs.timezone is 'Zone in which timestamps without an offset were read';
