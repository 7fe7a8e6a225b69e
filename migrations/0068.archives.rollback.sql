-- Puts the record of archived months aside: it says where rows are that are nowhere else.
do $$
begin
    if exists (select from imports.archives) then
        create table imports.archives_rolled_back as select * from imports.archives;
    end if;
end
$$;

drop table if exists imports.archives;
