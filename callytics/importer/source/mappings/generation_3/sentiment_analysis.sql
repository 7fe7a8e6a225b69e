-- Generation 3: sentiment of a speaker in a session.
-- target: sentiment_analysis
-- shape: sentiment_analysis (id, session_id, speaker_type)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    speaker_type,
    sentiment_score,
    emotion_category,
    confidence,
    analysis_timestamp,
    created_at
from sentiment_analysis
