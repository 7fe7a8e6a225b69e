-- transactional: false
-- Takes this index away.
drop index concurrently if exists speaker_segments_audio_file_id_idx;
