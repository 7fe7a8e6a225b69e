-- Generation 3: how well the agent spoke.
-- target: communication_quality
-- shape: communication_quality (id, audio_path, consultation_id)
-- file: consultation_quality
select
    source_rowid,
    id,
    audio_path,
    consultation_id,
    honorific_ratio,
    positive_word_ratio,
    negative_word_ratio,
    euphonious_word_ratio,
    empathy_ratio,
    apology_ratio,
    total_sentences,
    customer_sentiment_early,
    customer_sentiment_late,
    customer_sentiment_trend,
    avg_response_latency,
    task_ratio,
    suggestions,
    interruption_count,
    silence_ratio,
    talk_ratio,
    analysis_details,
    created_at
from communication_quality
