-- Generation 3: keywords of a session.
-- target: consultation_keywords
-- shape: consultation_keywords (id, session_id, keyword)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    keyword,
    frequency,
    importance_score,
    category,
    created_at
from consultation_keywords
