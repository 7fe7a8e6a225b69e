-- What only the completion report asks of the import's own records (schema imports, see migrations 0002 and 0057).

-- name: server
select current_database() as database, split_part(current_setting('server_version'), ' ', 1) as version

-- name: runs
select id, status, version, timezone, started_at, finished_at
from imports.runs
where %(run)s::bigint is null or id = %(run)s
order by id

-- name: sources
select id, path, snapshot_path, sha256, size_bytes, taken_at, undone_at
from imports.sources
where run_id = %(run)s
order by id

-- name: definitions
-- What was dropped for the load, and how much of it is back.
select kind, count(*) as dropped, count(restored_at) as restored
from imports.definitions
where run_id = %(run)s
group by kind

-- name: steps
select step, table_id, name, started_at, finished_at
from imports.steps
where run_id = %(run)s
order by started_at, id

-- name: sizes
select target_table, table_bytes_before, index_bytes_before, table_bytes_after, index_bytes_after
from imports.sizes
where run_id = %(run)s
order by target_table

-- name: syncs
-- When a run's files were caught up with, and what that changed.
select s.path, y.started_at, y.finished_at, y.inserted, y.updated, y.deleted, y.conflicts, y.kept, y.sha256
from imports.syncs as y
join imports.sources as s on s.id = y.source_id
where s.run_id = %(run)s
order by y.started_at desc, y.id desc

-- name: zone_changes
select timezone_before, timezone, readings, changed, kept, finished_at
from imports.zone_changes
where run_id = %(run)s
order by id

-- name: chunks
-- When how many rows had been committed.
select c.committed_at, c.copied + c.inserted as rows
from imports.chunks as c
join imports.tables as t on t.id = c.table_id
join imports.sources as s on s.id = t.source_id
where s.run_id = %(run)s
order by c.committed_at
