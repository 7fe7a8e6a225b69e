-- How the parts of a call are read.

-- name: audio_file
select *
from audio_files
where id = %(id)s and {visible}

-- name: audio_file_by_path
-- The newest recording of a path.
select *
from audio_files as a
where a.file_path = %(file_path)s and {visible_a}
order by coalesce(a.created_at, '-infinity') desc, a.id desc
limit 1

-- name: audio_features
select f.*, t.name as topic
from audio_features as f
left join topics as t on t.id = f.topic_id
where f.audio_file_id = %(id)s and {visible}

-- name: audio_metrics
select *
from audio_metrics
where audio_file_id = %(id)s and {visible}

-- name: speaker_segments
select *
from speaker_segments
where audio_file_id = %(id)s and {visible}
order by start_time, id

-- name: transcriptions
select *
from transcriptions
where audio_file_id = %(id)s and {visible}
order by start_time, id

-- name: transcript
-- What was said in a recording, from the table that holds it: transcriptions with the segment's speaker; or else
-- utterances that know the recording by id; or else those that know it by path, as generation 3 does.
with transcribed as (
    select
        'transcriptions' as source, t.id, s.speaker_id as speaker, nullif(s.speaker_type, 'unknown') as speaker_role,
        t.start_time, t.end_time, t.text_content as text, t.confidence, null::bigint as sequence, null as sentiment,
        null::bigint as profane,
        t.created_at
    from transcriptions as t
    left join speaker_segments as s on s.id = t.speaker_segment_id
    where t.audio_file_id = %(id)s
),
uttered as (
    select
        'utterances' as source, u.id, u.speaker, u.speaker_role, u.start_time, u.end_time, u.text, u.confidence,
        u.sequence, u.sentiment,
        u.profane, u.created_at
    from utterances as u
    where u.audio_file_id = %(id)s and not exists (select from transcribed)
),
uttered_there as (
    select
        'utterances' as source, u.id, u.speaker, u.speaker_role, u.start_time, u.end_time, u.text, u.confidence,
        u.sequence, u.sentiment,
        u.profane, u.created_at
    from utterances as u
    where u.audio_path = (select file_path from audio_files where id = %(id)s)
        and u.audio_file_id is null
        and not exists (select from transcribed)
        and not exists (select from uttered)
)
select *
from (
    select *
    from transcribed
    union all
    select *
    from uttered
    union all
    select *
    from uttered_there
) as said
where {visible}
order by start_time, sequence, id

-- name: session_by_audio_file
-- The newest session of a recording.
select *
from consultation_sessions
where audio_file_id = %(id)s and {visible}
order by coalesce(created_at, '-infinity') desc, id desc
limit 1

-- name: quality_metrics
select *
from quality_metrics
where session_id = %(id)s
order by id

-- name: sentiment_analysis
select *
from sentiment_analysis
where session_id = %(id)s
order by id

-- name: communication_patterns
select *
from communication_patterns
where session_id = %(id)s
order by id

-- name: improvement_suggestions
select *
from improvement_suggestions
where session_id = %(id)s
order by id

-- name: communication_quality
-- The newest communication quality of a recording, known by id or, in generation 3, by path.
select *
from (
    select * from communication_quality where audio_file_id = %(id)s
    union all
    select q.*
    from communication_quality as q
    where q.audio_path = (select file_path from audio_files where id = %(id)s) and q.audio_file_id is null
) as found
where {visible}
order by coalesce(created_at, '-infinity') desc, id desc
limit 1

-- name: communication_quality_by_path
select *
from communication_quality
where audio_path = %(audio_path)s
    and (
        %(visible)s::text[] is null
        or exists (select from audio_files as a where a.file_path = %(audio_path)s and {visible_a})
    )
order by coalesce(created_at, '-infinity') desc, id desc
limit 1

-- name: consultation_analysis
-- The newest consultation analysis of a recording, known by id or, in generation 3, by path.
select *
from (
    select * from consultation_analysis where audio_file_id = %(id)s
    union all
    select c.*
    from consultation_analysis as c
    where c.audio_path = (select file_path from audio_files where id = %(id)s) and c.audio_file_id is null
) as found
where {visible}
order by coalesce(created_at, '-infinity') desc, id desc
limit 1

-- name: analysis_statistics
select *
from consultation_statistics
order by total_count desc, business_type, classification_type, consultation_result

-- name: table_sizes
-- The tables of the application and about how many rows each has, as the planner would guess; NULL where that is
-- unknown.
select
    c.relname as name,
    (
        select
            sum(
                p.reltuples
                * (pg_relation_size(p.oid) / current_setting('block_size')::float8)
                / greatest(p.relpages, 1)
            )
        from pg_partition_tree(c.oid) as tree
        join pg_class as p on p.oid = tree.relid
        where tree.isleaf
        having min(p.reltuples) >= 0
    )::bigint as estimate
from pg_class as c
where c.relnamespace = 'public'::regnamespace
    and c.relkind in ('r', 'p')
    and not c.relispartition
    and c.relname !~ '^(_|yoyo)'
    and has_table_privilege(c.oid, 'select')
order by c.relname

-- name: database_size
select pg_database_size(current_database())

-- name: count
select
    {label} as name,
    count(*) as rows
from {table}
