-- transactional: false
-- Takes this index away.
drop index concurrently if exists audio_files_newest_idx;
