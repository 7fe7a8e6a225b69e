-- transactional: false
-- depends: 0014.index-processing-logs
-- The conversation of a recording: where audio_file_id = … order by sequence; the foreign key to audio_files.
-- The sources' indexes on speaker and start_time are left out: two speakers are half a table each, and nobody asks for a second without a call.

create index concurrently if not exists utterances_audio_file_id_idx on utterances (audio_file_id, sequence);
