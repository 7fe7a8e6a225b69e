-- Generation 3: sentiment over time by a language model.
-- target: llm_sentiment_timeline
-- shape: llm_sentiment_timeline (id, llm_analysis_id, speaker_type)
-- file: consultation_quality
-- reference: llm_analysis_id to llm_analysis
select
    source_rowid,
    id,
    llm_analysis_id,
    speaker_type,
    time_segment_start,
    time_segment_end,
    dominant_emotion,
    emotion_intensity,
    sentiment_score,
    emotion_triggers,
    communication_quality,
    created_at
from llm_sentiment_timeline
