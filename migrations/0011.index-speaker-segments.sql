-- transactional: false
-- depends: 0010.index-audio-files
-- Segments of a recording in their order: where audio_file_id = … order by start_time; audio_processing_summary; cascading deletes.
-- The sources' index on speaker_type is left out: with three values it would select a third of the table.

create index concurrently if not exists speaker_segments_audio_file_id_idx on speaker_segments (audio_file_id, start_time);
