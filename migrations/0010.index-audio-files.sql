-- transactional: false
-- depends: 0006.roles
-- Finding recordings: by what is still to be processed, by age, by path.
-- Free text is the key of no btree here or in the files after this one: a btree refuses values above 2,704 bytes, which the sources never did.

-- What waits: where processing_status = 'pending' order by upload_timestamp. What is done, nearly all, is left out of the index.
create index concurrently if not exists audio_files_waiting_idx on audio_files (upload_timestamp) where processing_status <> 'completed';

-- The newest uploads: order by upload_timestamp desc limit …
create index concurrently if not exists audio_files_upload_timestamp_idx on audio_files (upload_timestamp);

-- v_integrated_consultation_analysis: order by created_at desc.
create index concurrently if not exists audio_files_created_at_idx on audio_files (created_at);

-- The recording of a path: where file_path = …, as generation 3 refers to it.
create index concurrently if not exists audio_files_file_path_idx on audio_files using hash (file_path);

-- Recordings of a topic, and the foreign key to topics.
create index concurrently if not exists audio_features_topic_id_idx on audio_features (topic_id);
