-- transactional: false
-- depends: 0016.index-utterances-by-audio-path
-- Consultation analyses and communication quality: of a recording, of a consultation, of a time.
-- The sources' indexes on each ratio and classification are left out: ratios are averaged, never searched, and consultation_statistics
-- groups the whole table by its few classifications. consultation_analysis.consultation_id and the codes are indexed by being unique.

-- v_integrated_consultation_analysis: where audio_file_id = … order by id; the foreign key to audio_files.
create index concurrently if not exists consultation_analysis_audio_file_id_idx on consultation_analysis (audio_file_id, id);

-- Analyses of a recording known by path: where audio_path = …
create index concurrently if not exists consultation_analysis_audio_path_idx on consultation_analysis using hash (audio_path);

-- Analyses of a time: where created_at >= …
create index concurrently if not exists consultation_analysis_created_at_idx on consultation_analysis (created_at);

-- v_integrated_consultation_analysis: where audio_file_id = … order by id; the foreign key to audio_files.
create index concurrently if not exists communication_quality_audio_file_id_idx on communication_quality (audio_file_id, id);

-- Quality of a recording known by path: where audio_path = …
create index concurrently if not exists communication_quality_audio_path_idx on communication_quality using hash (audio_path);

-- Quality of a consultation: where consultation_id = …
create index concurrently if not exists communication_quality_consultation_id_idx on communication_quality using hash (consultation_id);

-- v_communication_quality_summary: the last thirty days.
create index concurrently if not exists communication_quality_created_at_idx on communication_quality (created_at);

-- Sentences of an analysis in their order: where communication_quality_id = … order by sentence_order; the foreign key.
create index concurrently if not exists communication_quality_details_communication_quality_id_idx on communication_quality_details (communication_quality_id, sentence_order);
