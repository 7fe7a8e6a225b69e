-- Puts the records of erasures aside: they say which rows of files must not come back.
set local lock_timeout = '3s';

do $$
begin
    if to_regclass('imports.erasures') is not null then
        alter table imports.erased rename to erased_rolled_back;
        alter table imports.erasures rename to erasures_rolled_back;
    end if;
end
$$;
