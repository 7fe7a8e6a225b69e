-- How calls and what was said in them are found.

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

-- name: by_index
set local enable_seqscan = off;
set local jit = off

-- name: by_any_plan
set local enable_seqscan to default;
set local jit to default
