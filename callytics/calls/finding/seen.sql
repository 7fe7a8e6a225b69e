-- Which recordings a scoped reader may see.

-- name: seen
-- The recordings of some agents, as an array's text, and about how many recordings there are; more of them than
-- %(most)s count as that many.
with recordings as (
    select distinct s.audio_file_id as id
    from consultation_sessions as s
    where s.agent_name = any(%(visible)s::text[])
    limit %(most)s
)
select
    count(*) as calls,
    coalesce(array_agg(id), '{}')::text as ids,
    (select reltuples from pg_class where oid = 'audio_files'::regclass) as recordings
from recordings

-- name: silent
-- Those of some recordings that have no transcriptions, of which utterances are found instead, and their paths.
select
    coalesce(array_agg(a.id), '{}')::text as ids,
    coalesce(array_agg(distinct a.file_path) filter (where a.file_path is not null), '{}')::text as paths
from audio_files as a
where a.id = any(%(seen)s::bigint[])
    and (select t.id from transcriptions as t where t.audio_file_id = a.id limit 1) is null

-- name: paths
-- Some recordings, and their paths.
select
    coalesce(array_agg(a.id), '{}')::text as ids,
    coalesce(array_agg(distinct a.file_path) filter (where a.file_path is not null), '{}')::text as paths
from audio_files as a
where a.id = any(%(seen)s::bigint[])
