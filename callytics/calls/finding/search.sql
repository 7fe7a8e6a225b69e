-- How calls and what was said in them are found.

-- name: words
-- The words of a text as to_tsvector finds them in a transcript, each as a prefix, since particles follow Korean words.
-- Transcripts are kept as they came, so that Hangul in parts (NFD) is looked for, too.
-- "whole" looks for all words, "apart" for those that are not looked for inside others: that takes the indexes of an
-- optional migration, none of them put away by an import. "ordered" is for the phrases: their words are as far from
-- each other as there or, in either order, have at most so many others between them, each distance being an operator of
-- its own. It is apart since an index would be asked for a word as often as the query names it.
with words as (
    select plain.number - 2 as phrase, lexeme, 0 as position, null::bigint as near
    from unnest(array[%(apart)s, %(plain)s]) with ordinality as plain (text, number)
    cross join unnest(to_tsvector('simple', plain.text))
    union all
    select phrase.number, word.lexeme, position, phrase.near
    from unnest(%(phrases)s::text[], %(near)s::bigint[]) with ordinality as phrase (text, near, number)
    cross join unnest(to_tsvector('simple', phrase.text)) as word
    cross join unnest(word.positions) as position
),
quoted as (
    select *, '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || ''':*' as term
    from words
),
terms as (
    select
        phrase,
        position,
        near,
        case
            when term is nfd normalized then term
            else '(' || term || ' | ' || normalize(term, nfd) || ')'
        end as term
    from quoted
),
following as (
    select
        *,
        position - lag(position) over (partition by phrase order by position) as distance,
        lag(term) over (partition by phrase order by position) as previous
    from terms
    where phrase > 0
),
ordered as (
    select string_agg(coalesce('<' || distance || '> ', '') || term, ' ' order by position) as query
    from following
    where near is null
    group by phrase
    having count(*) > 1
    union all
    select '(' || string_agg(concat_ws(' ', previous, apart, term, '|', term, apart, previous), ' | ') || ')'
    from following
    cross join lateral (select '<' || generate_series(1, near + 1) || '>' as apart) as distances
    where near is not null and previous is not null
    group by phrase, position
)
select
    count(*) filter (where phrase <> -1) as words,
    coalesce(string_agg(distinct term, ' & ') filter (where phrase <> -1), '') as whole,
    coalesce(string_agg(distinct term, ' & ') filter (where phrase <> 0), '') as apart,
    coalesce((select string_agg(query, ' & ') from ordered), '') as ordered,
    (
        select count(*) = 2
        from pg_index
        where indexrelid in (to_regclass('transcriptions_inside_words_idx'), to_regclass('utterances_inside_words_idx'))
            and indisvalid
    ) as finds_inside
from terms

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

-- name: frequency
-- How many of the newest rows of each table, and of those that have the words in them, the greater of the two parts.
select coalesce(max(part), 0)
from (
    select avg(({said_t})::int) as part
    from (
        select text_content
        from transcriptions
        order by coalesce(created_at, '-infinity'::timestamptz) desc, id desc
        limit %(rows)s
    ) as t
    union all
    select avg(({said_u})::int)
    from (
        select text
        from utterances
        order by coalesce(created_at, '-infinity'::timestamptz) desc, id desc
        limit %(rows)s
    ) as u
) as parts

-- name: next_calls
-- The next recordings of the list, by what their words are found by.
select a.id, a.file_path, a.created_at
from audio_files as a
where {conditions}
order by coalesce(a.created_at, '-infinity'::timestamptz) desc, a.id desc
limit %(limit)s

-- name: calls_that_say
-- Which of some recordings have the words in what was said in them, recording by recording: for frequent words, of
-- which each has one soon. Utterances are what was said where there are no transcriptions.
select c.id
from unnest(%(ids)s::bigint[], %(paths)s::text[]) as c (id, path)
where case
        when (
            select t.id
            from transcriptions as t
            where t.audio_file_id = c.id
                and ({said_t}) is true
            limit 1
        ) is not null then true
        when (select t.id from transcriptions as t where t.audio_file_id = c.id limit 1) is not null then false
        when (
            select u.id
            from utterances as u
            where u.audio_file_id = c.id
                and ({said_u}) is true
            limit 1
        ) is not null then true
        else (
            select u.id
            from utterances as u
            where u.audio_path = c.path
                and u.audio_file_id is null
                and ({said_u}) is true
            limit 1
        ) is not null
    end

-- name: calls_transcribed
-- Which of some recordings have the words in their transcriptions, by the full-text index and that of the recordings,
-- combined: for rare words.
with transcribed as materialized (
    select t.audio_file_id as id
    from transcriptions as t
    where {said_t}
        and t.audio_file_id between %(lowest)s and %(highest)s
)
select c.id
from unnest(%(ids)s::bigint[]) as c (id)
where c.id in (select id from transcribed)

-- name: calls_uttered
-- The same of the utterances of recordings that have no transcriptions.
with uttered as materialized (
    select u.audio_file_id as id
    from utterances as u
    where {said_u}
        and u.audio_file_id between %(lowest)s and %(highest)s
),
uttered_there as materialized (
    select u.audio_path as path
    from utterances as u
    where {said_u}
        and u.audio_path = any(%(paths)s::text[])
        and u.audio_file_id is null
)
select c.id
from unnest(%(ids)s::bigint[], %(paths)s::text[]) as c (id, path)
where c.id in (select id from uttered)
    or c.path in (select path from uttered_there)

-- name: without_transcriptions
-- Which of some recordings have no transcriptions, each looked up by itself.
select c.id
from unnest(%(ids)s::bigint[]) as c (id)
where (select t.id from transcriptions as t where t.audio_file_id = c.id limit 1) is null

-- name: window_end
-- The last row of a window that begins below a position and has at most so many rows of each table: of the two tables'
-- ends the newer, since a window is the same time in both; no row where both tables end within it.
select at::text as time, id
from (
    (
        select coalesce(t.created_at, '-infinity'::timestamptz) as at, t.id
        from transcriptions as t
        where (coalesce(t.created_at, '-infinity'::timestamptz), t.id) < (%(before_time)s::timestamptz, %(before_id)s)
            and (t.created_at <= %(before_time)s::timestamptz or t.created_at is null)
        order by coalesce(t.created_at, '-infinity'::timestamptz) desc, t.id desc
        limit 1 offset %(rows)s
    )
    union all
    (
        select coalesce(u.created_at, '-infinity'::timestamptz), u.id
        from utterances as u
        where (coalesce(u.created_at, '-infinity'::timestamptz), u.id) < (%(before_time)s::timestamptz, %(before_id)s)
            and (u.created_at <= %(before_time)s::timestamptz or u.created_at is null)
        order by coalesce(u.created_at, '-infinity'::timestamptz) desc, u.id desc
        limit 1 offset %(rows)s
    )
) as ends
order by at desc, id desc
limit 1

-- name: months_before
-- The beginning of the month of a moment, or of one so many months earlier, where partitions begin; before our era
-- there may be none. From infinity on it is the month of the newest row.
with moments as (
    select
        case
            when %(time)s::timestamptz = 'infinity'
                then greatest(
                        (
                            select t.created_at
                            from transcriptions as t
                            order by coalesce(t.created_at, '-infinity'::timestamptz) desc
                            limit 1
                        ),
                        (
                            select u.created_at
                            from utterances as u
                            order by coalesce(u.created_at, '-infinity'::timestamptz) desc
                            limit 1
                        )
                    )
            else %(time)s::timestamptz
        end as at
)
select
    case
        when (at >= '0002-01-01') is not true then '-infinity'
        else (date_trunc('month', at, 'UTC') - make_interval(months => %(months)s))::text
    end
from moments

-- name: transcribed
-- What transcriptions say with some words in it in a window, newest first.
-- The conditions on created_at alone say which months are read. The hits are materialized: before a LIMIT the planner
-- would walk through the window row by row instead of asking the full-text index.
with hits as materialized (
    select t.*, coalesce(t.created_at, '-infinity'::timestamptz) as at
    from {transcriptions}
    where ({said_t}) {row_by_row}
        and (coalesce(t.created_at, '-infinity'::timestamptz), t.id) < (%(before_time)s::timestamptz, %(before_id)s)
        and (coalesce(t.created_at, '-infinity'::timestamptz), t.id) >= (%(from_time)s::timestamptz, %(from_id)s)
        and (t.created_at <= %(before_time)s::timestamptz or t.created_at is null)
        and (t.created_at >= %(from_time)s::timestamptz or %(from_time)s = '-infinity')
        and {visible_t}
)
select
    'transcriptions' as source,
    2 as source_number,
    hits.id,
    f.id as audio_file_id,
    f.file_name,
    f.file_path,
    s.speaker_id as speaker,
    nullif(s.speaker_type, 'unknown') as speaker_role,
    hits.start_time,
    hits.end_time,
    hits.text_content as text,
    null as snippet,
    hits.created_at
from (
    select *
    from hits
    order by at desc, id desc
    limit %(limit)s
) as hits
left join audio_files as f on f.id = hits.audio_file_id
left join speaker_segments as s on s.id = hits.speaker_segment_id
order by hits.at desc, hits.id desc

-- name: uttered
-- What utterances say with some words in it in a window, newest first; not those of a recording that has
-- transcriptions, since generation 3 keeps every sentence twice. An utterance that knows its recording by path only is
-- shown with the newest recording of that path.
-- Whether a hit is said twice is asked hit by hit, from the newest on, until the page is full: LIMIT 1 keeps the
-- planner from making a join over all hits of it.
with hits as materialized (
    select u.*, coalesce(u.created_at, '-infinity'::timestamptz) as at
    from {utterances}
    where ({said_u}) {row_by_row}
        and (coalesce(u.created_at, '-infinity'::timestamptz), u.id) {below} (
            %(before_time)s::timestamptz, %(before_id)s
        )
        and (coalesce(u.created_at, '-infinity'::timestamptz), u.id) >= (%(from_time)s::timestamptz, %(from_id)s)
        and (u.created_at <= %(before_time)s::timestamptz or u.created_at is null)
        and (u.created_at >= %(from_time)s::timestamptz or %(from_time)s = '-infinity')
        and {visible_u}
)
select
    'utterances' as source,
    1 as source_number,
    hits.id,
    f.id as audio_file_id,
    f.file_name,
    coalesce(hits.audio_path, f.file_path) as file_path,
    hits.speaker,
    hits.speaker_role,
    hits.start_time,
    hits.end_time,
    hits.text,
    null as snippet,
    hits.created_at
from (
    select newest.*
    from (select * from hits order by at desc, id desc) as newest
    where (select t.id from transcriptions as t where t.audio_file_id = newest.audio_file_id limit 1) is null
        and (
            select t.id
            from audio_files as a
            join transcriptions as t on t.audio_file_id = a.id
            where a.file_path = newest.audio_path and newest.audio_file_id is null
            limit 1
        ) is null
    limit %(limit)s
) as hits
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
order by hits.at desc, hits.id desc

-- name: snippets
-- An excerpt of each text with the words found marked, as a whole those in which one was found.
select
    ts_headline(
        'simple',
        left(said.text, 100000),
        %(query)s::tsquery || (
            select
                coalesce(
                    string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | '), ''
                )::tsquery
            from unnest(to_tsvector('simple', left(said.text, 100000)))
            where exists (select from unnest(%(inside)s::text[]) as word where normalize(lexeme) like word)
        ),
        'StartSel=«, StopSel=», MaxFragments=2, MinWords=5, MaxWords=15'
    ) as snippet
from unnest(%(texts)s::text[]) with ordinality as said (text, n)
order by said.n

-- name: by_index
set local enable_seqscan = off;
set local jit = off;
set local max_parallel_workers_per_gather = 0

-- name: by_any_plan
set local enable_seqscan to default;
set local jit to default;
set local max_parallel_workers_per_gather to default
