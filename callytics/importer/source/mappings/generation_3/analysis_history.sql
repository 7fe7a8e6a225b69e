-- Generation 3: when a session was analysed, and how that went.
-- target: analysis_history
-- shape: analysis_history (id, session_id, analysis_type)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    analysis_type,
    status,
    started_at,
    completed_at,
    error_message,
    reprocess_count,
    triggered_by,
    parameters,
    result_summary,
    created_at
from analysis_history
