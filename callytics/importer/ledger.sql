-- The import's own records (schema imports, see migration 0002).

-- name: unfinished_runs
-- Runs that were started and not finished, with the paths of their files.
select r.id, array_agg(s.path order by s.id)
from imports.runs r join imports.sources s on s.run_id = r.id
where r.status = 'running'
group by r.id order by r.id

-- name: source_by_sha256
-- The import that brought a file's content.
select s.id, s.run_id, s.path, s.snapshot_path, s.sha256, s.size_bytes, r.status, r.timezone, r.finished_at
from imports.sources s join imports.runs r on r.id = s.run_id
where s.sha256 = %(sha256)s

-- name: sources_of_run
select s.id, s.run_id, s.path, s.snapshot_path, s.sha256, s.size_bytes, r.status, r.timezone, r.finished_at
from imports.sources s join imports.runs r on r.id = s.run_id
where s.run_id = %(run)s
order by s.id

-- name: run_of_path
-- The latest import of a file of this path, whatever its content was.
select s.run_id, s.snapshot_path from imports.sources s where s.path = %(path)s order by s.id desc limit 1

-- name: insert_run
insert into imports.runs (version, timezone) values (%(version)s, %(timezone)s) returning id

-- name: insert_source
insert into imports.sources (run_id, path, snapshot_path, sha256, size_bytes)
values (%(run)s, %(path)s, %(snapshot_path)s, %(sha256)s, %(size_bytes)s)
returning id

-- name: insert_table
insert into imports.tables (source_id, source_table, mapping, target_table, unmapped_columns, id_offset, offsets, source_rows)
values (%(source)s, %(source_table)s, %(mapping)s, %(target_table)s, %(unmapped_columns)s, %(id_offset)s, %(offsets)s, %(source_rows)s)
returning id

-- name: tables_of_source
select id, source_table, mapping, target_table, unmapped_columns, id_offset, offsets, source_rows, loaded_at
from imports.tables where source_id = %(source)s
order by id

-- name: start_table
update imports.tables set started_at = coalesce(started_at, clock_timestamp()) where id = %(table)s

-- name: finish_table
update imports.tables set loaded_at = clock_timestamp() where id = %(table)s

-- name: verified_table
update imports.tables
set verified_at = clock_timestamp(), verified_rows = %(rows)s, different_rows = %(different)s
where id = %(table)s

-- name: last_chunk
-- Where to go on: the last chunk, and whether its single rows are still to come.
select first_rowid, last_rowid, pending, (select sum(copied + inserted + rejected) from imports.chunks where table_id = %(table)s)
from imports.chunks where table_id = %(table)s
order by first_rowid desc limit 1

-- name: record_rows
-- The checkpoint of a chunk's single rows, on top of its COPY's or in place of it.
insert into imports.chunks (table_id, first_rowid, last_rowid, copied, inserted, rejected, pending)
values (%(table)s, %(first)s, %(last)s, 0, %(inserted)s, %(rejected)s, false)
on conflict (table_id, first_rowid)
do update set inserted = excluded.inserted, rejected = excluded.rejected, pending = false, committed_at = clock_timestamp()

-- name: record_normalisation
insert into imports.normalisations (table_id, source_column, normalisation, rows, example_rowid)
values (%(table)s, %(column)s, %(normalisation)s, %(rows)s, %(example)s)
on conflict (table_id, source_column, normalisation)
do update set rows = imports.normalisations.rows + excluded.rows

-- name: insert_rejected
insert into imports.rejected (table_id, source_table, source_rowid, source_column, reason, storage_class, raw, source_row)
values (%(table)s, %(source_table)s, %(rowid)s, %(column)s, %(reason)s, %(storage_class)s, %(raw)s, %(row)s)

-- name: rejected_between
select source_rowid, source_column, storage_class, raw, source_row::text from imports.rejected
where table_id = %(table)s and source_rowid between %(first)s and %(last)s

-- name: unmapped_between
select source_rowid, source_row::text from imports.unmapped
where table_id = %(table)s and source_rowid between %(first)s and %(last)s

-- name: counts
-- Rows loaded and rejected of a table of a source.
select coalesce(sum(copied + inserted), 0)::bigint, coalesce(sum(rejected), 0)::bigint
from imports.chunks where table_id = %(table)s

-- name: kept_aside
-- Rows of a table that are in imports.rejected, and in imports.unmapped.
select
    (select count(*) from imports.rejected where table_id = %(table)s),
    (select count(*) from imports.unmapped where table_id = %(table)s)

-- name: families
-- Runs that brought a source table of a generation, with the offset of its ids.
select distinct s.run_id, t.id_offset
from imports.tables t join imports.sources s on s.id = t.source_id
where lower(t.source_table) = lower(%(table)s) and t.mapping like %(generation)s

-- name: insert_definition
insert into imports.definitions (run_id, kind, table_name, name, definition)
values (%(run)s, %(kind)s, %(table)s, %(name)s, %(definition)s)

-- name: definitions_to_restore
-- Indexes first: validating a foreign key is quicker with them.
select id, kind, table_name, name, definition from imports.definitions
where run_id = %(run)s and restored_at is null
order by kind desc, id

-- name: restored
update imports.definitions set restored_at = clock_timestamp(), orphans = %(orphans)s where id = %(definition)s

-- name: finish_run
update imports.runs
set status = %(status)s, finished_at = case when finished_at is null or %(status)s <> status then clock_timestamp() else finished_at end
where id = %(run)s

-- name: runs
select id, status, version, timezone, started_at, finished_at from imports.runs order by id

-- name: summary
-- What became of each table of a run.
select s.path, t.source_table, t.target_table, t.mapping, t.unmapped_columns, t.id_offset, t.source_rows,
    coalesce(sum(c.copied + c.inserted), 0)::bigint as loaded,
    coalesce(sum(c.rejected), 0)::bigint as rejected,
    t.verified_rows, t.different_rows,
    round(extract(epoch from t.loaded_at - t.started_at), 3)::float8 as seconds
from imports.tables t join imports.sources s on s.id = t.source_id left join imports.chunks c on c.table_id = t.id
where s.run_id = %(run)s
group by s.id, t.id
order by s.id, t.id

-- name: rejects
-- Rejected rows of a run by reason, with an example.
select s.path, t.source_table, t.target_table, j.source_column, j.reason, count(*) as rows, min(j.source_rowid) as example
from imports.rejected j join imports.tables t on t.id = j.table_id join imports.sources s on s.id = t.source_id
where s.run_id = %(run)s
group by s.id, t.id, j.source_column, j.reason
order by s.id, t.id, count(*) desc

-- name: normalisations
select s.path, t.source_table, n.source_column, n.normalisation, n.rows, n.example_rowid
from imports.normalisations n join imports.tables t on t.id = n.table_id join imports.sources s on s.id = t.source_id
where s.run_id = %(run)s
order by s.id, t.id, n.source_column, n.normalisation

-- name: not_validated
-- Foreign keys that a run left NOT VALID because of orphans.
select table_name, name, orphans from imports.definitions
where run_id = %(run)s and kind = 'foreign key' and orphans > 0
order by table_name, name
