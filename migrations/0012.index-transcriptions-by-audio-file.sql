-- transactional: false
-- depends: 0011.index-speaker-segments
-- Transcriptions of a recording in their order: where audio_file_id = … order by start_time; audio_processing_summary; cascading deletes.

create index concurrently if not exists transcriptions_audio_file_id_idx on transcriptions (audio_file_id, start_time);
