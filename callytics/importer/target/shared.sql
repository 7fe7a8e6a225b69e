-- Rows whose unique key another row has: who that is, and whether the two are equal. {…} are identifiers.

-- name: unique_columns
-- The columns of a unique key, in its order.
select a.attname
from pg_constraint as k
cross join unnest(k.conkey) with ordinality as c (number, place)
join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = c.number
where k.conname = %(name)s and k.conrelid = to_regclass(format('%%I.%%I', %(schema)s, %(table)s))
order by c.place

-- name: rows_there
-- The row that has the unique key of each of these, the columns in which the two differ, and the latter as JSON.
select
    v.sync_n,
    t.{key},
    array(
        select e.name
        from jsonb_each(to_jsonb(v) - {own}::text[]) as e (name, held)
        where ((to_jsonb(t) -> e.name) is distinct from e.held)
        order by e.name
    ),
    (to_jsonb(v) - 'sync_n')::text
from (values %s) as v (sync_n, {columns})
join public.{target} as t on ({same})

-- name: hand_over
-- Rows to be deleted that other imports share stay: each becomes the own row of the first of these, with its own id.
with heirs as (
    select distinct on (s.target_id) s.table_id, s.source_rowid, s.target_id, s.target_row, f.run_id
    from imports.shared as s
    join imports.tables as w on w.id = s.table_id and w.target_table = %(target)s
    join imports.sources as f on f.id = w.source_id
    join {gone} as g on g.key = s.target_id
    where s.table_id <> all(%(own)s)
    order by s.target_id, s.table_id, s.source_rowid
),
spared as (
    delete from {gone} as g using heirs as h
    where g.key = h.target_id
    returning g.sync_table, g.key
),
handed as (
    update public.{target} as t
    set ({columns}) = (select {heir_columns} from jsonb_populate_record(null::public.{target}, h.target_row) as r)
    from heirs as h
    where t.{key} = h.target_id
    returning h.table_id, h.source_rowid, h.target_id, h.run_id, t.{key} as key
),
inherited as (
    delete from imports.shared as s using handed as h
    where s.table_id = h.table_id and s.source_rowid = h.source_rowid
),
moved as (
    update imports.shared as s
    set target_id = h.key
    from handed as h
    join imports.tables as w on w.target_table = %(target)s
    where s.target_id = h.target_id and s.table_id = w.id and s.table_id <> all(%(own)s)
        and (s.table_id, s.source_rowid) <> (h.table_id, h.source_rowid)
),
counted as (
    update imports.chunks as c
    set shared = c.shared - n.rows, inserted = c.inserted + n.rows
    from (
        select c.table_id, c.first_rowid, count(*) as rows
        from handed as h
        join imports.chunks as c on c.table_id = h.table_id and h.source_rowid between c.first_rowid and c.last_rowid
        group by c.table_id, c.first_rowid
    ) as n
    where c.table_id = n.table_id and c.first_rowid = n.first_rowid
)
select p.sync_table, h.run_id, count(*)
from handed as h
join spared as p on p.key = h.target_id
group by p.sync_table, h.run_id
order by p.sync_table, h.run_id

-- name: part
-- Rows that other imports shared and that have become another: these have a conflict from now on, and are rejected.
with parted as (
    delete from imports.shared as s
    using imports.tables as w, imports.sources as f, public.{target} as t
    where w.id = s.table_id and f.id = w.source_id and w.target_table = %(target)s and t.{key} = s.target_id
        and s.table_id <> all(%(own)s) and not to_jsonb(t) @> (s.target_row - {own}::text[])
    returning
        s.table_id,
        s.source_rowid,
        s.target_id,
        s.source_row,
        w.source_table,
        f.run_id,
        array_to_string(
            array(
                select e.name
                from jsonb_each(s.target_row - {own}::text[]) as e (name, held)
                where ((to_jsonb(t) -> e.name) is distinct from e.held)
                order by e.name
            ),
            ', '
        ) as columns
),
rejected as (
    insert into imports.rejected (table_id, source_table, source_rowid, reason, source_row, conflicting_id)
    select table_id, source_table, source_rowid, replace(%(reason)s, '{{}}', columns), source_row, target_id
    from parted
),
counted as (
    update imports.chunks as c
    set shared = c.shared - n.rows, rejected = c.rejected + n.rows
    from (
        select c.table_id, c.first_rowid, count(*) as rows
        from parted as p
        join imports.chunks as c on c.table_id = p.table_id and p.source_rowid between c.first_rowid and c.last_rowid
        group by c.table_id, c.first_rowid
    ) as n
    where c.table_id = n.table_id and c.first_rowid = n.first_rowid
),
judged as (
    update imports.runs set status = 'rejects' where status = 'verified' and id in (select run_id from parted)
)
select run_id, count(*)
from parted
group by run_id
order by run_id
