-- Queries of databases.py and elements.py, by name.

-- name: columns
-- The columns of some tables that may be written, with the checks on each alone.
select
    c.relname as table_name,
    a.attname as name,
    t.typname as type,
    a.attnotnull and not a.atthasdef and a.attidentity = '' as required,
    k.check_definition
from pg_class as c
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
left join lateral (
    select string_agg(pg_get_constraintdef(k.oid), ' ') as check_definition
    from pg_constraint as k
    where k.conrelid = c.oid and k.contype = 'c' and k.conkey = array[a.attnum]
) as k on true
where c.relnamespace = 'public'::regnamespace
    and c.relname = any(%(tables)s)
    and a.attgenerated = ''
    and a.attidentity = ''
order by c.relname, a.attnum

-- name: reserve_ids
-- As many ids of a table as rows will be inserted, so that it is known which row gets which.
select
    array(select nextval((select pg_get_serial_sequence(%(table)s, 'id'))::regclass) from generate_series(1, %(count)s))
        as ids

-- name: lock_audio_file
-- Keeps a recording from being deleted while something is stored that belongs to it.
select id
from audio_files
where id = %(id)s for key share

-- name: lock_session
select id
from consultation_sessions
where id = %(id)s for key share

-- name: segments_elsewhere
-- Which of some ids are not those of a recording's segments.
select wanted.id
from unnest(%(ids)s::bigint[]) as wanted (id)
where not exists (select from speaker_segments as s where s.id = wanted.id and s.audio_file_id = %(audio_file_id)s)

-- name: update_audio_status
update audio_files
set
    processing_status = %(processing_status)s,
    error_message = %(error_message)s,
    processing_completed_at = case when %(processing_status)s = 'completed' then now() end
where id = %(id)s

-- name: update_session_status
-- What is not given stays as it is.
update consultation_sessions
set
    analysis_status = %(analysis_status)s,
    overall_quality_score = coalesce(%(overall_quality_score)s, overall_quality_score),
    customer_satisfaction_score = coalesce(%(customer_satisfaction_score)s, customer_satisfaction_score),
    summary = coalesce(%(summary)s, summary),
    key_issues = coalesce(%(key_issues)s, key_issues),
    resolution_status = coalesce(%(resolution_status)s, resolution_status),
    analysis_started_at
    = case when %(analysis_status)s in ('processing', 'reprocessing') then now() else analysis_started_at end,
    analysis_completed_at = case when %(analysis_status)s = 'completed' then now() end
where id = %(id)s

-- name: audio_file
select *
from audio_files
where id = %(id)s

-- name: audio_file_by_path
-- The newest recording of a path.
select *
from audio_files
where file_path = %(file_path)s
order by coalesce(created_at, '-infinity') desc, id desc
limit 1

-- name: audio_features
select f.*, t.name as topic
from audio_features as f
left join topics as t on t.id = f.topic_id
where f.audio_file_id = %(id)s

-- name: audio_metrics
select *
from audio_metrics
where audio_file_id = %(id)s

-- name: speaker_segments
select *
from speaker_segments
where audio_file_id = %(id)s
order by start_time, id

-- name: transcriptions
select *
from transcriptions
where audio_file_id = %(id)s
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
from transcribed
union all
select *
from uttered
union all
select *
from uttered_there
order by start_time, sequence, id

-- name: session_by_audio_file
-- The newest session of a recording.
select *
from consultation_sessions
where audio_file_id = %(id)s
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
order by coalesce(created_at, '-infinity') desc, id desc
limit 1

-- name: communication_quality_by_path
select *
from communication_quality
where audio_path = %(audio_path)s
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
order by coalesce(created_at, '-infinity') desc, id desc
limit 1

-- name: analysis_statistics
select *
from consultation_statistics
order by total_count desc, business_type, classification_type, consultation_result

-- name: prefix_query
-- The words of a text as to_tsvector finds them in a transcript, each as a prefix, since particles follow Korean words;
-- '' without a word.
select coalesce(string_agg('''' || replace(replace(word, '\', '\\'), '''', '''''') || ''':*', ' & '), '') as query
from unnest(tsvector_to_array(to_tsvector('simple', %(text)s))) as word

-- name: find_calls
-- A page of the recordings, newest first, each with what its newest session and its features say.
with page as (
    select a.*
    from audio_files as a
    where {conditions}
    order by coalesce(a.created_at, '-infinity'::timestamptz) desc, a.id desc
    limit %(limit)s
)
select
    page.*, t.name as topic, s.id as session_id, s.session_date, s.agent_name, s.customer_id, s.consultation_type,
    s.analysis_status,
    s.overall_quality_score, s.customer_satisfaction_score, s.resolution_status,
    coalesce(s.summary, f.summary) as summary
from page
left join audio_features as f on f.audio_file_id = page.id
left join topics as t on t.id = f.topic_id
left join lateral (
    select *
    from consultation_sessions as c
    where c.audio_file_id = page.id
    order by coalesce(c.created_at, '-infinity') desc, c.id desc
    limit 1
) as s on true
order by coalesce(page.created_at, '-infinity'::timestamptz) desc, page.id desc

-- name: search_transcripts
-- A page of what was said with some words in it, newest first, from both tables; not from the utterances of a recording
-- that has transcriptions, since generation 3 keeps every sentence twice. An utterance that knows its recording by path
-- only is shown with the newest recording of that path.
with hits as (
    (
        select
            2 as source, t.id, t.audio_file_id, null as audio_path, t.speaker_segment_id, null as speaker,
            null as speaker_role,
            t.start_time, t.end_time, t.text_content as text, t.created_at
        from transcriptions as t
        where to_tsvector('simple', left(t.text_content, 100000)) @@ %(query)s::tsquery
            and (coalesce(t.created_at, '-infinity'::timestamptz), 2, t.id)
            < (%(after_time)s::timestamptz, %(after_source)s, %(after_id)s)
        order by coalesce(t.created_at, '-infinity'::timestamptz) desc, t.id desc
        limit %(limit)s
    )
    union all
    (
        select
            1, u.id, u.audio_file_id, u.audio_path, null, u.speaker, u.speaker_role, u.start_time, u.end_time, u.text,
            u.created_at
        from utterances as u
        where to_tsvector('simple', left(u.text, 100000)) @@ %(query)s::tsquery
            and (coalesce(u.created_at, '-infinity'::timestamptz), 1, u.id)
            < (%(after_time)s::timestamptz, %(after_source)s, %(after_id)s)
            and not exists (select from transcriptions as t where t.audio_file_id = u.audio_file_id)
            and not exists (
                select
                from audio_files as f
                join transcriptions as t on t.audio_file_id = f.id
                where f.file_path = case when u.audio_file_id is null then u.audio_path end
            )
        order by coalesce(u.created_at, '-infinity'::timestamptz) desc, u.id desc
        limit %(limit)s
    )
    order by 11 desc nulls last, 1 desc, 2 desc
    limit %(limit)s
)
select
    case hits.source when 2 then 'transcriptions' else 'utterances' end as source,
    hits.source as source_number,
    hits.id,
    f.id as audio_file_id,
    f.file_name,
    coalesce(hits.audio_path, f.file_path) as file_path,
    coalesce(s.speaker_id, hits.speaker) as speaker,
    coalesce(nullif(s.speaker_type, 'unknown'), hits.speaker_role) as speaker_role,
    hits.start_time,
    hits.end_time,
    hits.text,
    case
        when %(snippets)s then ts_headline(
                'simple', left(hits.text, 100000), %(query)s::tsquery,
                'StartSel=«, StopSel=», MaxFragments=2, MinWords=5, MaxWords=15'
            )
    end as snippet,
    hits.created_at
from hits
left join lateral (
    select a.id, a.file_name, a.file_path
    from audio_files as a
    where a.id = hits.audio_file_id
    union all
    (
        select a.id, a.file_name, a.file_path
        from audio_files as a
        where hits.audio_file_id is null and a.file_path = hits.audio_path
        order by coalesce(a.created_at, '-infinity') desc, a.id desc
        limit 1
    )
) as f on true
left join speaker_segments as s on s.id = hits.speaker_segment_id
order by hits.created_at desc nulls last, hits.source desc, hits.id desc

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
