-- transactional: false
-- Takes this index away.
drop index concurrently if exists processing_logs_audio_file_id_idx;
