-- How the parts of a call are stored.

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

-- name: insert
insert into {table} ({columns}) values ({rows})

-- name: replace
-- A recording has one row here; what the new one does not have goes back to its default.
insert into {table} ({columns})
values ({values})
on conflict (audio_file_id) do update
    set ({replaced}) = row ({excluded})
returning audio_file_id
