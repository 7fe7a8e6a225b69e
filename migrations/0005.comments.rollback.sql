-- Takes the comments away. No migration before 0005 comments on anything in schema public, and those after it are
-- rolled back first, so that whatever the owner's tables and views have there is from 0005.

do $$
declare
    described text;
begin
    for described in
        select case
            when d.objsubid > 0 then format('column %s.%I', c.oid::regclass, a.attname)
            when c.relkind = 'v' then format('view %s', c.oid::regclass)
            else format('table %s', c.oid::regclass)
        end
        from pg_description as d
        join pg_class as c on c.oid = d.objoid
        left join pg_attribute as a on a.attrelid = c.oid and a.attnum = d.objsubid
        where d.classoid = 'pg_class'::regclass
            and c.relnamespace = 'public'::regnamespace
            and c.relkind in ('r', 'p', 'v')
            and c.relowner = current_user::regrole
    loop
        execute format('comment on %s is null', described);
    end loop;
end
$$;
