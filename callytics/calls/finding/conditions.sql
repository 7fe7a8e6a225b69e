-- Conditions of find_calls in search.sql, by name; each is an expression, not a statement, so that no linter reads
-- them.

-- name: visible
-- Whether a call is one of those that a reader may see: any of its sessions names one of the agents.
exists (
    select
    from consultation_sessions as seen
    where seen.audio_file_id = {call} and seen.agent_name = any(%(visible)s::text[])
)

-- name: visible_utterance
-- The same of an utterance, which may know its recording by path only: then it is shown with the newest of that path.
case
    when u.audio_file_id is not null then {by_id}
    else (
        select {by_path}
        from audio_files as there
        where there.file_path = u.audio_path
        order by coalesce(there.created_at, '-infinity') desc, there.id desc
        limit 1
    )
end

-- name: seen_transcription
-- The same where the recordings are known. IS TRUE keeps the planner from estimating what each of them has, which takes
-- longer than to look.
(t.audio_file_id in (select unnest(%(seen)s::bigint[]))) is true

-- name: seen_utterance
-- The paths, where they are known, spare most hits the last question.
(
    u.audio_file_id in (select unnest(%(silent)s::bigint[]))
    or u.audio_file_id is null
    and (%(silent_paths)s::text[] is null or u.audio_path in (select unnest(%(silent_paths)s::text[])))
    and (
        select there.id
        from audio_files as there
        where there.file_path = u.audio_path
        order by coalesce(there.created_at, '-infinity') desc, there.id desc
        limit 1
    ) in (select unnest(%(seen)s::bigint[]))
) is true

-- name: transcriptions_of_calls
-- What stands for a table where few recordings are known: their rows, recording by recording.
(unnest(%(seen)s::bigint[]) as c (id) join transcriptions as t on t.audio_file_id = c.id)

-- name: utterances_of_calls
(
    select by_id.*
    from unnest(%(silent)s::bigint[]) as c (id)
    join utterances as by_id on by_id.audio_file_id = c.id
    union all
    select by_path.*
    from unnest(%(silent_paths)s::text[]) as c (path)
    join utterances as by_path on by_path.audio_path = c.path and by_path.audio_file_id is null
) as u

-- name: calls_after
(coalesce(a.created_at, '-infinity'::timestamptz), a.id) < (%(after_time)s::timestamptz, %(after_id)s)

-- name: calls_since
coalesce(a.created_at, '-infinity'::timestamptz) >= %(since)s::timestamptz

-- name: calls_until
coalesce(a.created_at, '-infinity'::timestamptz) < %(until)s::timestamptz and a.created_at is not null

-- name: calls_status
a.processing_status = %(status)s

-- name: calls_path
a.file_path = %(path)s

-- name: calls_name
position(lower(%(name)s) in lower(a.file_name)) > 0

-- name: calls_topic
a.id in (select f.audio_file_id from audio_features as f join topics as t on t.id = f.topic_id where t.name = %(topic)s)

-- name: calls_session
-- One session must have it all.
a.id in (
    select s.audio_file_id
    from consultation_sessions as s
    where (%(agent)s::text is null or s.agent_name = %(agent)s)
        and (%(consultation_type)s::text is null or s.consultation_type = %(consultation_type)s)
        and (%(analysis_status)s::text is null or s.analysis_status = %(analysis_status)s)
)

-- name: calls_ids
a.id = any(%(ids)s::bigint[])

-- name: said_words
to_tsvector('simple', left({text}, 100000)) @@ %(query)s::tsquery

-- name: said_ordered
-- IS TRUE keeps the planner from asking an index, which would read all that the words are in once for each mention.
(to_tsvector('simple', left({text}, 100000)) @@ %(ordered)s::tsquery) is true

-- name: said_pairs
-- What an index of pairs of syllables finds: every text in which the words stand, and few others.
syllable_pairs({text}) @> %(pairs)s::text[]

-- name: said_inside
-- As it is stored first, since to compose a text takes ten times as long as to look into it.
(
    left({text}, 100000) like all (%(inside)s::text[])
    or normalize(left({text}, 100000)) like all (%(inside)s::text[])
)

-- name: calls_search
-- Utterances count where there are no transcriptions, which is asked of those only that have the words.
a.id in (
    select t.audio_file_id
    from transcriptions as t
    where {said_t}
    union
    select u.audio_file_id
    from utterances as u
    where {said_u}
        and u.audio_file_id is not null
        and (select t.id from transcriptions as t where t.audio_file_id = u.audio_file_id limit 1) is null
    union
    select f.id
    from utterances as u
    join audio_files as f on f.file_path = u.audio_path
    where {said_u}
        and u.audio_file_id is null
        and (select t.id from transcriptions as t where t.audio_file_id = f.id limit 1) is null
)
