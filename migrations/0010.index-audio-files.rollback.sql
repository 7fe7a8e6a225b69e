-- transactional: false
-- Takes these indexes away.
drop index concurrently if exists audio_features_topic_id_idx;
drop index concurrently if exists audio_files_file_path_idx;
drop index concurrently if exists audio_files_created_at_idx;
drop index concurrently if exists audio_files_upload_timestamp_idx;
drop index concurrently if exists audio_files_waiting_idx;
