-- Generation 3: what to do better after a session.
-- target: improvement_suggestions
-- shape: improvement_suggestions (id, session_id, suggestion_category)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    suggestion_category,
    suggestion_text,
    priority,
    implementation_difficulty,
    expected_impact,
    target_audience,
    created_at
from improvement_suggestions
