-- What the completion report tells, from the import's own records (schema imports, see migrations 0002 and 0057).

-- name: server
select current_database(), split_part(current_setting('server_version'), ' ', 1)

-- name: runs
select id, status, version, timezone, started_at, finished_at from imports.runs order by id

-- name: sources
select id, path, snapshot_path, sha256, size_bytes, taken_at, undone_at from imports.sources where run_id = %(run)s order by id

-- name: tables
-- What became of each table of a run; `relation` is its target as the catalogue knows it.
select t.id, t.source_id, s.path, t.source_table, t.target_table, t.mapping, t.unmapped_columns, t.id_offset, t.source_rows,
    coalesce(c.loaded, 0) as loaded, coalesce(c.rejected, 0) as rejected,
    t.verified_rows, t.different_rows, t.started_at, t.loaded_at, t.verified_at,
    round(extract(epoch from t.loaded_at - t.started_at), 3)::float8 as seconds
from imports.tables t
join imports.sources s on s.id = t.source_id
left join lateral (
    select sum(copied + inserted)::bigint as loaded, sum(rejected)::bigint as rejected from imports.chunks where table_id = t.id
) c on true
where s.run_id = %(run)s
order by s.id, t.id

-- name: rejects
-- Rejected rows of a run by reason, with the first five as examples.
select path, source_table, target_table, source_column, reason, count(*) as rows, min(source_rowid) as example,
    array_agg(source_rowid order by source_rowid) filter (where place <= 5) as examples
from (
    select s.path, t.id as table_id, t.source_table, t.target_table, j.source_column, j.reason, j.source_rowid,
        row_number() over (partition by t.id, j.source_column, j.reason order by j.source_rowid) as place
    from imports.rejected j join imports.tables t on t.id = j.table_id join imports.sources s on s.id = t.source_id
    where s.run_id = %(run)s
) j
group by path, table_id, source_table, target_table, source_column, reason
order by count(*) desc, table_id, source_column, reason

-- name: normalisations
select s.path, t.source_table, n.source_column, n.normalisation, n.rows, n.example_rowid
from imports.normalisations n join imports.tables t on t.id = n.table_id join imports.sources s on s.id = t.source_id
where s.run_id = %(run)s
order by n.rows desc, s.id, t.id, n.source_column, n.normalisation

-- name: not_validated
-- Foreign keys that a run left NOT VALID because of orphans; those of a table's partitions are one.
select coalesce(i.inhparent::regclass::text, d.table_name) as table_name, min(d.name) as name, d.definition,
    count(*) as keys, sum(d.orphans)::bigint as orphans
from imports.definitions d left join pg_inherits i on i.inhrelid = to_regclass(d.table_name)
where d.run_id = %(run)s and d.kind = 'foreign key' and d.orphans > 0
group by 1, d.definition
order by 1, 2

-- name: definitions
-- What stepped aside during the load, and how much of it is back.
select kind, count(*) as aside, count(restored_at) as restored from imports.definitions where run_id = %(run)s group by kind

-- name: steps
select step, table_id, name, started_at, finished_at from imports.steps where run_id = %(run)s order by started_at, id

-- name: sizes
select target_table, table_bytes_before, index_bytes_before, table_bytes_after, index_bytes_after
from imports.sizes where run_id = %(run)s order by target_table

-- name: syncs
-- When a run's files were caught up with, and what that changed.
select s.path, y.started_at, y.finished_at, y.inserted, y.updated, y.deleted, y.conflicts, y.kept, y.sha256
from imports.syncs y join imports.sources s on s.id = y.source_id
where s.run_id = %(run)s
order by y.started_at desc, y.id desc

-- name: chunks
-- When how many rows had been committed.
select c.committed_at, c.copied + c.inserted as rows
from imports.chunks c join imports.tables t on t.id = c.table_id join imports.sources s on s.id = t.source_id
where s.run_id = %(run)s
order by c.committed_at
