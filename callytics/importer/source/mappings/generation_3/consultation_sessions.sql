-- Generation 3: one consultation and its overall result.
-- target: consultation_sessions
-- shape: consultation_sessions (id, audio_file_id, session_date)
-- file: consultation_quality
-- reference: audio_file_id to audio_files
select
    source_rowid,
    id,
    audio_file_id,
    session_date,
    duration_minutes,
    agent_name,
    customer_id,
    consultation_type,
    overall_quality_score,
    analysis_status,
    analysis_started_at,
    analysis_completed_at,
    analysis_error_message,
    summary,
    key_issues,
    resolution_status,
    customer_satisfaction_score,
    created_at,
    updated_at
from consultation_sessions
