-- Generation 3: results of a language model for a session.
-- target: llm_analysis
-- shape: llm_analysis (id, session_id, analysis_type)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    analysis_type,
    result_json,
    model_version,
    analysis_parameters,
    confidence_score,
    processing_time_seconds,
    created_at,
    updated_at
from llm_analysis
