-- Generation 3: emotion over the time of a session.
-- target: sentiment_timeline
-- shape: sentiment_timeline (id, session_id, speaker_type)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    speaker_type,
    time_start,
    time_end,
    dominant_emotion,
    emotion_intensity,
    sentiment_score,
    confidence,
    emotion_triggers,
    context_description,
    communication_quality,
    created_at
from sentiment_timeline
