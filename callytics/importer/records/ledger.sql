-- The import's own records (schema imports, see migration 0002).

-- name: timezone
select timezone
from imports.runs
where id = %(run)s

-- name: change_zone
update imports.runs set timezone = %(timezone)s
where id = %(run)s

-- name: insert_zone_change
insert into imports.zone_changes (run_id, version, timezone_before, timezone, readings, changed, kept)
select id, %(version)s, timezone, %(timezone)s, %(readings)s, %(changed)s, %(kept)s
from imports.runs
where id = %(run)s

-- name: unfinished_runs
-- Runs that were started and not finished, with the paths of their files.
select r.id, array_agg(s.path order by s.id)
from imports.runs as r
join imports.sources as s on s.run_id = r.id
where r.status = 'running'
group by r.id
order by r.id

-- name: source_by_sha256
-- The import that brought a file's content.
select s.id, s.run_id as run, s.path, s.snapshot_path, s.sha256, s.size_bytes, r.status, r.timezone, r.finished_at
from imports.sources as s
join imports.runs as r on r.id = s.run_id
where s.sha256 = %(sha256)s and s.undone_at is null

-- name: sources_of_run
select s.id, s.run_id as run, s.path, s.snapshot_path, s.sha256, s.size_bytes, r.status, r.timezone, r.finished_at
from imports.sources as s
join imports.runs as r on r.id = s.run_id
where s.run_id = %(run)s
order by s.id

-- name: run_of_path
-- The latest import of a file of this path, whatever its content was.
select s.run_id, s.snapshot_path
from imports.sources as s
where s.path = %(path)s and s.undone_at is null
order by s.id desc
limit 1

-- name: insert_run
insert into imports.runs (version, timezone) values (%(version)s, %(timezone)s) returning id

-- name: insert_source
insert into imports.sources (run_id, path, snapshot_path, sha256, size_bytes)
values (%(run)s, %(path)s, %(snapshot_path)s, %(sha256)s, %(size_bytes)s)
returning id

-- name: insert_table
insert into imports.tables (
    source_id, source_table, mapping, target_table, unmapped_columns, id_offset, offsets, source_rows, readings,
    started_at,
    loaded_at
)
values (
    %(source)s, %(source_table)s, %(mapping)s, %(target_table)s, %(unmapped_columns)s, %(id_offset)s, %(offsets)s,
    %(source_rows)s, %(readings)s,
    case when %(loaded)s then clock_timestamp() end, case when %(loaded)s then clock_timestamp() end
)
returning id

-- name: tables_of_source
select id, source_table, mapping, target_table, unmapped_columns, id_offset, offsets, source_rows, loaded_at, readings
from imports.tables
where source_id = %(source)s
order by id

-- name: erased_of_source
-- What was erased of a file's tables.
select e.table_id, e.kind, e.columns, array_agg(e.number)
from imports.erased as e
join imports.tables as t on t.id = e.table_id
where t.source_id = %(source)s
group by e.table_id, e.kind, e.columns

-- name: erased_ids
-- The ids that are gone for good, by table: none is given out again.
select t.target_table, array_agg(distinct e.number)
from imports.erased as e
join imports.tables as t on t.id = e.table_id
where e.kind = 'key'
group by t.target_table

-- name: carry_erased
-- What was erased of the same content, or of a file of the same path whose import was undone.
insert into imports.erased (table_id, kind, number, erasure_id, columns)
select
    now.id,
    e.kind,
    case
        when e.kind = 'row' then e.number
        else
            e.number - coalesce((was.offsets ->> k.key)::bigint, 0) + coalesce((now.offsets ->> k.key)::bigint, 0)
    end,
    e.erasure_id,
    e.columns
from imports.sources as f
join imports.tables as now on now.source_id = f.id
join imports.sources as before
    on before.id < f.id and (before.sha256 = f.sha256 or (before.path = f.path and before.undone_at is not null))
join imports.tables as was
    on was.source_id = before.id and was.source_table = now.source_table and was.target_table = now.target_table
join imports.erased as e on e.table_id = was.id
cross join
    lateral (
        select case when now.target_table = 'audio_features' then 'audio_file_id' else 'id' end as key
    ) as k
where f.run_id = %(run)s
on conflict do nothing

-- name: start_table
update imports.tables set started_at = coalesce(started_at, clock_timestamp())
where id = %(table)s

-- name: finish_table
update imports.tables set loaded_at = clock_timestamp()
where id = %(table)s

-- name: verified_table
with verified as (
    update imports.tables
    set verified_at = clock_timestamp(), verified_rows = %(rows)s, different_rows = %(different)s
    where id = %(table)s
    returning id, source_id, source_table, verified_at
)
insert into imports.steps (run_id, table_id, step, name, started_at, finished_at)
select s.run_id, v.id, 'verify', v.source_table, v.verified_at - make_interval(secs => %(seconds)s), v.verified_at
from verified as v
join imports.sources as s on s.id = v.source_id

-- name: chunks_within
-- What is loaded of a range of rows, and whether single rows are still to come.
select first_rowid, last_rowid, pending, copied + inserted + rejected + shared
from imports.chunks
where table_id = %(table)s and first_rowid <= %(last)s and last_rowid >= %(first)s
order by first_rowid

-- name: record_rows
-- The checkpoint of a chunk's single rows, on top of its COPY's or in place of it.
insert into imports.chunks (table_id, first_rowid, last_rowid, copied, inserted, rejected, shared, pending)
values (%(table)s, %(first)s, %(last)s, 0, %(inserted)s, %(rejected)s, %(shared)s, false)
on conflict (table_id, first_rowid)
do update
    set
        inserted = excluded.inserted, rejected = excluded.rejected, shared = excluded.shared, pending = false,
        committed_at = clock_timestamp()

-- name: record_normalisation
insert into imports.normalisations (table_id, source_column, normalisation, rows, example_rowid)
values (%(table)s, %(column)s, %(normalisation)s, %(rows)s, %(example)s)
on conflict (table_id, source_column, normalisation)
do update set rows = imports.normalisations.rows + excluded.rows

-- name: insert_rejected
insert into imports.rejected (
    table_id, source_table, source_rowid, source_column, reason, storage_class, raw, source_row, conflicting_id
)
values (
    %(table)s, %(source_table)s, %(rowid)s, %(column)s, %(reason)s, %(storage_class)s, %(raw)s, %(row)s,
    %(conflicting)s
)

-- name: insert_shared
insert into imports.shared (table_id, source_rowid, target_id, source_row, target_row)
values (%(table)s, %(rowid)s, %(target)s, %(row)s, %(own)s)

-- name: kept_between
-- Rows that were not loaded: rejected ones, and those that share a row that was there.
select source_rowid, source_column, storage_class, raw, source_row::text, null::bigint
from imports.rejected
where table_id = %(table)s and source_rowid between %(first)s and %(last)s
union all
select source_rowid, null, null, null, source_row::text, target_id
from imports.shared
where table_id = %(table)s and source_rowid between %(first)s and %(last)s

-- name: unmapped_between
select source_rowid, source_row::text
from imports.unmapped
where table_id = %(table)s and source_rowid between %(first)s and %(last)s

-- name: unmapped_rows
select source_rowid, source_row::text
from imports.unmapped
where table_id = %(table)s and source_rowid = any(%(rowids)s::bigint[])

-- name: rejected_rows
-- The numbers of a file's rejected rows, by source table.
select t.source_table, array_agg(distinct j.source_rowid)
from imports.rejected as j
join imports.tables as t on t.id = j.table_id
where t.source_id = %(source)s
group by t.source_table

-- name: ids_without
-- The ids of a table once some have gone and others have come; NULL where they are not listed.
select (ids - %(gone)s::int8multirange + %(come)s::int8multirange)::text
from imports.tables
where id = %(table)s

-- name: extent
-- What the checkpoints of a table cover: the first and the last row number, and rows copied, inserted,
-- rejected and shared.
select
    min(first_rowid),
    max(last_rowid),
    coalesce(sum(copied), 0)::bigint,
    coalesce(sum(inserted), 0)::bigint,
    coalesce(sum(rejected), 0)::bigint,
    coalesce(sum(shared), 0)::bigint
from imports.chunks
where table_id = %(table)s

-- name: forget_verdict
-- What was found of a file's tables was found of other content.
update imports.tables set verified_at = null, verified_rows = null, different_rows = null
where source_id = %(source)s

-- name: version_of_source
-- The version of callytics that wrote a file's rows last.
select
    coalesce(
        (select y.version from imports.syncs as y where y.source_id = s.id order by y.id desc limit 1), r.version
    )
from imports.sources as s
join imports.runs as r on r.id = s.run_id
where s.id = %(source)s

-- name: counts
-- Rows loaded, rejected and shared of a table of a source.
select
    coalesce(sum(copied + inserted), 0)::bigint, coalesce(sum(rejected), 0)::bigint, coalesce(sum(shared), 0)::bigint
from imports.chunks
where table_id = %(table)s

-- name: stored_counts
-- How many rows of a table there are in imports.rejected, in imports.unmapped and in imports.shared.
select
    (select count(*) from imports.rejected where table_id = %(table)s),
    (select count(*) from imports.unmapped where table_id = %(table)s),
    (select count(*) from imports.shared where table_id = %(table)s)

-- name: id_offsets
-- Runs that brought a source table of a generation, with the offset of its ids.
select distinct s.run_id, t.id_offset
from imports.tables as t
join imports.sources as s on s.id = t.source_id
where lower(t.source_table) = lower(%(table)s) and t.mapping like %(generation)s and s.undone_at is null

-- name: insert_definition
insert into imports.definitions (run_id, kind, table_name, name, definition)
values (%(run)s, %(kind)s, %(table)s, %(name)s, %(definition)s)

-- name: definitions_to_restore
-- Indexes first: validating a foreign key is quicker with them.
select id, kind, table_name, name, definition
from imports.definitions
where run_id = %(run)s and restored_at is null
order by kind desc, id

-- name: restored
update imports.definitions set restored_at = clock_timestamp(), orphans = %(orphans)s
where id = %(definition)s

-- name: insert_step
-- A step that took so many seconds and ended so long ago.
insert into imports.steps (run_id, step, name, started_at, finished_at)
select %(run)s, %(step)s, %(name)s, ended - make_interval(secs => %(seconds)s), ended
from (select clock_timestamp() - make_interval(secs => %(ago)s) as ended) as e

-- name: sizes_before
-- Bytes of the tables that a run will write, each with its partitions.
insert into imports.sizes (run_id, target_table, table_bytes_before, index_bytes_before)
select %(run)s, t.target_table, sum(pg_table_size(r.relation)), sum(pg_indexes_size(r.relation))
from (
    select distinct t.target_table
    from imports.tables as t
    join imports.sources as s on s.id = t.source_id
    where s.run_id = %(run)s
) as t
join lateral (
    select to_regclass(t.target_table) as relation
    union
    select relid
    from pg_partition_tree(to_regclass(t.target_table))
) as r on true
group by t.target_table

-- name: sizes_after
-- What a run left when it ended first; a later verification changes nothing.
update imports.sizes z
set table_bytes_after = n.table_bytes, index_bytes_after = n.index_bytes
from (
    select
        t.target_table, sum(pg_table_size(r.relation)) as table_bytes, sum(pg_indexes_size(r.relation)) as index_bytes
    from imports.sizes as t
    join lateral (
        select to_regclass(t.target_table) as relation
        union
        select relid
        from pg_partition_tree(to_regclass(t.target_table))
    ) as r on true
    where t.run_id = %(run)s
    group by t.target_table
) as n
where z.run_id = %(run)s and z.target_table = n.target_table and z.table_bytes_after is null

-- name: finish_run
update imports.runs
set
    status = %(status)s,
    finished_at = case when finished_at is null or %(status)s <> status then clock_timestamp() else finished_at end
where id = %(run)s

-- name: summary
-- What became of each table of a run.
select
    t.id,
    t.source_id,
    s.path,
    t.source_table,
    t.target_table,
    t.mapping,
    t.unmapped_columns,
    t.id_offset,
    t.readings,
    t.source_rows,
    coalesce(c.loaded, 0) as loaded,
    coalesce(c.rejected, 0) as rejected,
    coalesce(c.shared, 0) as shared,
    (select count(*) from imports.erased as e where e.table_id = t.id and e.kind <> 'mask') as erased,
    t.verified_rows,
    t.different_rows,
    t.started_at,
    t.loaded_at,
    t.verified_at,
    round(extract(epoch from t.loaded_at - t.started_at), 3)::float8 as seconds
from imports.tables as t
join imports.sources as s on s.id = t.source_id
left join lateral (
    select
        sum(copied + inserted)::bigint as loaded, sum(rejected)::bigint as rejected, sum(shared)::bigint as shared
    from imports.chunks
    where table_id = t.id
) as c on true
where s.run_id = %(run)s
order by s.id, t.id

-- name: rejects
-- Rejected rows of a run by reason, with the first five as examples.
select
    path,
    source_table,
    target_table,
    source_column,
    reason,
    count(*) as rows,
    min(source_rowid) as example,
    array_agg(source_rowid order by source_rowid) filter (where place <= 5) as examples,
    array_agg(conflicting_id order by source_rowid) filter (where place <= 5) as conflicting,
    (
        select o.import
        from imports.origin_of(target_table, (array_agg(conflicting_id order by source_rowid))[1]) as o
        limit 1
    ) as conflicting_import
from (
    select
        s.id as source_id,
        s.path,
        t.id as table_id,
        t.source_table,
        t.target_table,
        j.source_column,
        j.reason,
        j.source_rowid,
        j.conflicting_id,
        row_number() over (partition by t.id, j.source_column, j.reason order by j.source_rowid) as place
    from imports.rejected as j
    join imports.tables as t on t.id = j.table_id
    join imports.sources as s on s.id = t.source_id
    where s.run_id = %(run)s
) as j
group by source_id, path, table_id, source_table, target_table, source_column, reason
order by source_id, table_id, count(*) desc, source_column, reason

-- name: normalisations
-- Normalised values of a run by column.
select s.path, t.source_table, n.source_column, n.normalisation, n.rows, n.example_rowid
from imports.normalisations as n
join imports.tables as t on t.id = n.table_id
join imports.sources as s on s.id = t.source_id
where s.run_id = %(run)s
order by s.id, t.id, n.source_column, n.normalisation

-- name: not_validated
-- Foreign keys that a run left NOT VALID because of orphans, each with the table that its partition belongs to.
select
    d.table_name,
    coalesce(i.inhparent::regclass::text, d.table_name) as whole_table,
    d.name,
    d.definition,
    d.orphans
from imports.definitions as d
left join pg_inherits as i on i.inhrelid = to_regclass(d.table_name)
where d.run_id = %(run)s and d.kind = 'foreign key' and d.orphans > 0
order by d.table_name, d.name

-- name: source_of_path
-- The latest import of a file of this path that is still there.
select s.id, s.run_id as run, s.path, s.snapshot_path, s.sha256, s.size_bytes, r.status, r.timezone, r.finished_at
from imports.sources as s
join imports.runs as r on r.id = s.run_id
where s.path = %(path)s and s.undone_at is null
order by s.id desc
limit 1

-- name: imported_sources
-- Every file of an import that is still there, the latest first.
select s.id, s.run_id as run, s.path, s.snapshot_path, s.sha256, s.size_bytes, r.status, r.timezone, r.finished_at
from imports.sources as s
join imports.runs as r on r.id = s.run_id
where s.undone_at is null
order by s.id desc

-- name: imported_mappings
-- The mappings by which tables of files that are still there were imported.
select distinct t.mapping
from imports.tables as t
join imports.sources as s on s.id = t.source_id
where t.mapping is not null and s.undone_at is null

-- name: imported_paths
select distinct path
from imports.sources
where undone_at is null
order by path

-- name: update_table
-- What a source table is now.
update imports.tables
set
    source_table = %(source_table)s, mapping = %(mapping)s, unmapped_columns = %(unmapped_columns)s,
    source_rows = %(source_rows)s, readings = %(readings)s,
    ids = %(ids)s::int8multirange
where id = %(table)s

-- name: forget_table
-- A table that the file no longer has.
delete from imports.tables
where id = %(table)s

-- name: forget_chunks
delete from imports.chunks
where table_id = %(table)s

-- name: insert_chunk
-- Every row of a table in one chunk, as after a sync.
insert into imports.chunks (table_id, first_rowid, last_rowid, copied, inserted, rejected, shared, pending)
values (%(table)s, %(first)s, %(last)s, %(copied)s, %(inserted)s, %(rejected)s, %(shared)s, false)

-- name: forget_normalisations
delete from imports.normalisations
where table_id = %(table)s

-- name: forget_past_normalisations
delete from imports.normalisations
where table_id = %(table)s and rows <= 0

-- name: update_source
-- The content that a file has now.
update imports.sources
set sha256 = %(sha256)s, snapshot_path = %(snapshot_path)s, size_bytes = %(size_bytes)s, taken_at = clock_timestamp()
where id = %(source)s

-- name: insert_sync
insert into imports.syncs
(source_id, sha256_before, snapshot_before, sha256, version, kept, inserted, updated, deleted, conflicts, started_at)
values (
    %(source)s, %(sha256_before)s, %(snapshot_before)s, %(sha256)s, %(version)s, %(kept)s, %(inserted)s, %(updated)s,
    %(deleted)s,
    %(conflicts)s, now()
)

-- name: own_snapshots
-- The snapshots with which imports began, which are kept as backups, and those that are in use.
select
    coalesce(
        (select y.snapshot_before from imports.syncs as y where y.source_id = s.id order by y.id limit 1),
        s.snapshot_path
    )
from imports.sources as s
union
select snapshot_path
from imports.sources

-- name: record_orphans
-- What became of a foreign key that stayed NOT VALID, or became valid.
update imports.definitions set orphans = %(orphans)s
where kind = 'foreign key' and table_name = %(table)s and name = %(name)s and orphans > 0
returning run_id

-- name: targets
select distinct t.target_table
from imports.tables as t
join imports.sources as s on s.id = t.source_id
where s.run_id = %(run)s and t.mapping is not null
order by 1

-- name: snapshots_besides
select snapshot_path
from imports.sources
where run_id <> %(run)s
union
select y.snapshot_before
from imports.syncs as y
join imports.sources as s on s.id = y.source_id
where s.run_id <> %(run)s

-- name: held_table
-- A table of a cut-off run that these need, for themselves or as a parent: rows refer to it by ids, and a foreign key
-- can't be declared without its parent's key.
with needed as (
    select to_regclass('public.' || quote_ident(name)) as relation
    from unnest(%(tables)s::text[]) as name
    union
    select k.confrelid
    from pg_constraint as k
    where k.contype = 'f'
        and coalesce(pg_partition_root(k.conrelid), k.conrelid)
        in (select to_regclass('public.' || quote_ident(name)) from unnest(%(tables)s::text[]) as name)
),
held as (
    select to_regclass('public.' || quote_ident(t.target_table)) as relation
    from imports.tables as t
    join imports.sources as s on s.id = t.source_id
    where s.run_id = %(run)s and t.mapping is not null and t.loaded_at is null
    union
    select coalesce(pg_partition_root(to_regclass(table_name)), to_regclass(table_name))
    from imports.definitions
    where run_id = %(run)s and restored_at is null
)
select relation::regclass::text
from (
    select relation from needed
    intersect
    select relation from held
) as both_need
where relation is not null
order by 1
limit 1

-- name: forget_rows
with ways as (
    update imports.tables as t
    set loaded_at = null, started_at = null, verified_at = null, verified_rows = null, different_rows = null
    from imports.sources as s
    where s.id = t.source_id and s.run_id = %(run)s
    returning t.id
),
chunks as (delete from imports.chunks where table_id in (select id from ways)),
rejected as (delete from imports.rejected where table_id in (select id from ways)),
shared as (delete from imports.shared where table_id in (select id from ways)),
unmapped as (delete from imports.unmapped where table_id in (select id from ways))
delete from imports.normalisations
where table_id in (select id from ways)

-- name: run_status
select status
from imports.runs
where id = %(run)s

-- name: undo_run
-- What stays of an import that was undone: that there was one, of which files, and how many rows they had.
with undone as (
    update imports.runs set status = 'undone', finished_at = clock_timestamp() where id = %(run)s
),
files as (
    update imports.sources set undone_at = clock_timestamp() where run_id = %(run)s returning id
),
ways as (
    select t.id from imports.tables as t join imports.sources as s on s.id = t.source_id where s.run_id = %(run)s
),
chunks as (delete from imports.chunks where table_id in (select id from ways)),
rejected as (delete from imports.rejected where table_id in (select id from ways)),
shared as (delete from imports.shared where table_id in (select id from ways)),
unmapped as (delete from imports.unmapped where table_id in (select id from ways)),
normalisations as (delete from imports.normalisations where table_id in (select id from ways))
delete from imports.definitions
where run_id = %(run)s

-- name: archived_months
-- The months with rows of an import that are only in files.
select distinct to_char(month, 'YYYY-MM') as month
from imports.archives
where restored_at is null and %(run)s = any(runs)
order by 1
