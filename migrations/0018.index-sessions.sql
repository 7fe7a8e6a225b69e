-- transactional: false
-- depends: 0017.index-calls
-- Finding sessions: of a recording, of a day, of an agent, and those still to be analysed.
-- The sources' index on consultation_type is left out: seven values, and never asked without a date.

-- Sessions of a recording: where audio_file_id = …; the foreign key to audio_files.
create index concurrently if not exists consultation_sessions_audio_file_id_idx on consultation_sessions (audio_file_id);

-- Sessions of a time: where session_date between … and …
create index concurrently if not exists consultation_sessions_session_date_idx on consultation_sessions (session_date);

-- An agent's sessions: where agent_name = …; agent_performance_summary and agent_summary_view for one agent.
create index concurrently if not exists consultation_sessions_agent_name_idx on consultation_sessions using hash (agent_name);

-- What waits: where analysis_status = … order by created_at.
create index concurrently if not exists consultation_sessions_analysis_status_idx on consultation_sessions (analysis_status, created_at);
