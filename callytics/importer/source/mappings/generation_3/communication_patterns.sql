-- Generation 3: habits of speech in a session.
-- target: communication_patterns
-- shape: communication_patterns (id, session_id, pattern_type)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    pattern_type,
    frequency,
    severity_score,
    description,
    impact_on_quality,
    created_at
from communication_patterns
