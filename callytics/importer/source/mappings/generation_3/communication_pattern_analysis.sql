-- Generation 3: habits of speech in a session, in detail.
-- target: communication_pattern_analysis
-- shape: communication_pattern_analysis (id, session_id, pattern_type)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    pattern_type,
    pattern_subtype,
    occurrence_count,
    total_duration,
    average_duration,
    severity_score,
    impact_on_quality,
    effectiveness_score,
    context_description,
    improvement_suggestion,
    created_at
from communication_pattern_analysis
