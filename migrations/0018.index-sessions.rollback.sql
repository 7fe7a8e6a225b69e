-- transactional: false
-- Takes these indexes away.
drop index concurrently if exists consultation_sessions_analysis_status_idx;
drop index concurrently if exists consultation_sessions_agent_name_idx;
drop index concurrently if exists consultation_sessions_session_date_idx;
drop index concurrently if exists consultation_sessions_audio_file_id_idx;
