-- The rows of generation 3's audio database.

-- name: before
-- Nothing is there before the first call.

-- name: batch
-- The calls. One in eighty failed; the application wrote its own times with Python, in Seoul's time and to the
-- microsecond, the others are SQLite's CURRENT_TIMESTAMP, in UTC.
insert into audio_files
select id, 'audio\' || file_name, file_name, cast(duration * 4003.5 as integer),
       iif(completed, duration, null), iif(dice < 0.1, 8000, 16000), 1 + (dice2 < 0.15), 'mp3',
       datetime(epoch - 90, 'unixepoch'), iif(completed, 'completed', 'failed'),
       iif(completed, strftime('%Y-%m-%dT%H:%M:%S', epoch + 32400, 'unixepoch') || format('.%06d', dice3 * 999999), null),
       iif(completed, null, 'CUDA out of memory while diarizing ' || file_name),
       datetime(epoch - 90, 'unixepoch'), created
from measured
order by id;

insert into speaker_segments
select first_turn + n, id, iif(speaker = 'A', 'SPEAKER_00', 'SPEAKER_01'), start_time, end_time,
       iif(dice < 0.02, null, 1.0 - 0.4 * dice * dice),
       case when dice2 < 0.01 then 'unknown' when speaker = 'A' then 'agent' else 'customer' end, created
from spoken
where completed;

insert into transcriptions
    (audio_file_id, speaker_segment_id, text_content, start_time, end_time, confidence, language,
     punctuation_restored, created_at)
select id, iif(dice2 < 0.005, null, first_turn + n), text, start_time, end_time, 1.0 - 0.5 * dice2 * dice2, 'ko',
       dice > 0.1, created
from spoken
where completed;

insert into audio_metrics
    (audio_file_id, snr_db, clarity_score, volume_level, background_noise_level, speech_rate, pause_frequency,
     audio_quality_score, created_at)
select id, 12.0 + 25.0 * dice, 0.5 + 0.5 * dice2, -30.0 + 14.0 * dice3, -65.0 + 20.0 * dice, 90.0 + 70.0 * dice2,
       iif(dice3 < 0.05, null, 3.0 + 9.0 * dice3), 0.3 + 0.3 * dice + 0.4 * dice2, created
from measured
where completed;

-- A failed call got no further than diarization.
insert into processing_logs
    (audio_file_id, processing_step, status, start_time, end_time, duration_seconds, error_message, created_at)
select call.id, step.name,
       case when step.n = 2 and not completed then 'failed' when step.n = 1 and noise & 7 = 0 then 'skipped'
            else 'completed' end,
       strftime('%Y-%m-%dT%H:%M:%S', epoch + 32400 - 90 + 15 * step.n, 'unixepoch') || format('.%06d', noise % 999983),
       iif(step.n = 2 and not completed, null,
           strftime('%Y-%m-%dT%H:%M:%S', epoch + 32400 - 90 + 15 * (step.n + 1), 'unixepoch')
           || format('.%06d', noise % 999979)),
       iif(step.n = 2 and not completed, null, step.seconds * (0.5 + (noise * step.salt >> 22 & 16383) / 16384.0)),
       iif(step.n = 2 and not completed, 'CUDA out of memory', null), created
from temp.call cross join temp.processing_step as step
where completed or step.n <= 2;

-- name: after
-- Rows were deleted at the end: the next id is not the highest plus one.
update sqlite_sequence set seq = seq + 4 where name in ('audio_files', 'audio_metrics');
update sqlite_sequence set seq = seq + 117 where name in ('speaker_segments', 'transcriptions');
