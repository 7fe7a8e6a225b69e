-- The months that are written to are vacuumed and analysed soon after they have changed, and those that are over are
-- frozen once, by callytics partitions freeze, and left alone. By default a fifth of a table must have changed, which
-- for the largest ones is too late: index-only scans read their new rows from the table until then.
-- depends: 0073.erasures
set local lock_timeout = '3s';

create or replace function month_storage(is_over boolean) returns text[]
language sql immutable
as $$
    select case
        when is_over then array['autovacuum_freeze_min_age=0']
        else array[
            'autovacuum_analyze_scale_factor=0.02',
            'autovacuum_vacuum_insert_scale_factor=0.05',
            'autovacuum_vacuum_scale_factor=0.05'
        ]
    end
$$;

comment on function month_storage(boolean) is
    'The settings of autovacuum of a month that is written to, or of one that is over and was frozen';

-- As before, with the settings. The name on a line of its own: whether a migration is in is told by what it creates.
create or replace function
ensure_month_partitions(parent regclass, first_month date, last_month date) returns integer
language plpgsql
set search_path = public, pg_temp
as $$
declare
    fallback constant regclass := (select nullif(partdefid, 0) from pg_partitioned_table where partrelid = parent);
    parent_name constant text := (select relname from pg_class where oid = parent);
    fallback_name constant text := (select relname from pg_class where oid = fallback);
    column_names constant text := (
        select string_agg(quote_ident(attname), ', ' order by attnum)
        from pg_attribute
        where attrelid = parent and attnum > 0 and not attisdropped and attgenerated = ''
    );
    missing constant date[] := array(
        select month::date
        from generate_series(date_trunc('month', first_month::timestamp), last_month::timestamp, interval '1 month') as month
        order by month
    );
    month date;
    bounds text[];
    part text;
    created text[] := '{}';
    bordered text[] := '{}';
    plain record;
begin
    if fallback is null then
        raise exception '% is not partitioned by month', parent;
    end if;
    if cardinality(missing) > 1200 then
        raise exception '% months of % are asked for, more than the 1200 of a century: rows that far out of range belong into %',
            cardinality(missing), parent, fallback;
    end if;

    foreach month in array missing loop
        part := parent_name || to_char(month, '_YYYY_MM');
        continue when to_regclass(quote_ident(part)) is not null;
        execute format('lock table only %s in share row exclusive mode', fallback);
        continue when to_regclass(quote_ident(part)) is not null;
        bounds := array[month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00'];
        execute format(
            'create table %I (like %s including all excluding identity excluding indexes excluding statistics) with (%s)',
            part, parent, array_to_string(month_storage(is_over => false), ', ')
        );
        execute format(
            'with moved as (delete from only %1$s where created_at >= %2$L and created_at < %3$L returning *) '
            'insert into %4$I (%5$s) select %5$s from moved',
            fallback, bounds[1], bounds[2], part, column_names
        );
        execute format('alter table %1$I add constraint %2$I primary key (id)', part, part || '_pkey');
        execute format('comment on table %I is %L', part, to_char(month, 'YYYY-MM') || ': ' || obj_description(parent, 'pg_class'));
        call copy_privileges(parent, part::regclass);
        created := created || part;
        bordered := bordered || format('for values from (%L) to (%L)', bounds[1], bounds[2]);
    end loop;

    for month_number in 1 .. cardinality(created) loop
        for plain in
            select replace(conname, fallback_name, created[month_number]) as conname, pg_get_constraintdef(oid) as definition
            from pg_constraint
            where conrelid = fallback and contype = 'f'
        loop
            execute format('alter table %I add constraint %I %s', created[month_number], plain.conname, plain.definition);
        end loop;
        execute format('alter table %s attach partition %I %s', parent, created[month_number], bordered[month_number]);
    end loop;
    return cardinality(created);
end
$$;

create or replace procedure vacuum_months_soon()
language plpgsql
set search_path = public, pg_temp
as $$
declare
    this_month constant text := to_char(now() at time zone 'UTC', 'YYYY_MM');
    part regclass;
begin
    for part in
        select c.oid
        from pg_inherits as i
        join pg_class as c on c.oid = i.inhrelid
        join pg_class as parent on parent.oid = i.inhparent
        where parent.relkind = 'p'
            and parent.relnamespace = 'public'::regnamespace
            and (c.relname ~ '_default$' or c.relname ~ '_\d{4}_\d\d$' and right(c.relname, 7) >= this_month)
            and not coalesce(c.reloptions, '{}') @> month_storage(is_over => false)
    loop
        execute format('alter table %s set (%s)', part, array_to_string(month_storage(is_over => false), ', '));
    end loop;
end
$$;

comment on procedure vacuum_months_soon() is
    'Gives the months that are written to, and the default partitions, their settings of autovacuum where they lack one';

-- As before, and what somebody has taken away of the settings is there again.
create or replace function
keep_partitions_ahead(months integer default 3) returns integer
language plpgsql security definer
set search_path = public, pg_temp
as $$
declare
    this_month constant date := date_trunc('month', now() at time zone 'UTC');
    endless regclass;
    created integer := 0;
begin
    foreach endless in array array['transcriptions', 'utterances', 'processing_logs', 'agent_activity_logs', 'audit_log']::regclass[] loop
        created := created + ensure_month_partitions(endless, this_month, (this_month + make_interval(months => months))::date);
    end loop;
    call vacuum_months_soon();
    return created;
end
$$;

call vacuum_months_soon();
