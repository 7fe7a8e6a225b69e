-- transactional: false
-- Takes this index away.
drop index concurrently if exists utterances_audio_file_id_idx;
