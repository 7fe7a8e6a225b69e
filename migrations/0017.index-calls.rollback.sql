-- transactional: false
-- Takes these indexes away.
drop index concurrently if exists communication_quality_details_communication_quality_id_idx;
drop index concurrently if exists communication_quality_created_at_idx;
drop index concurrently if exists communication_quality_consultation_id_idx;
drop index concurrently if exists communication_quality_audio_path_idx;
drop index concurrently if exists communication_quality_audio_file_id_idx;
drop index concurrently if exists consultation_analysis_created_at_idx;
drop index concurrently if exists consultation_analysis_audio_path_idx;
drop index concurrently if exists consultation_analysis_audio_file_id_idx;
