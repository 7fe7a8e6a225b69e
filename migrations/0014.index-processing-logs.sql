-- transactional: false
-- depends: 0013.index-transcriptions-by-speaker-segment
-- The steps a recording went through: where audio_file_id = … order by start_time; cascading deletes.
-- The sources' index on processing_step is left out: every recording goes through the same few steps.

create index concurrently if not exists processing_logs_audio_file_id_idx on processing_logs (audio_file_id, start_time);
