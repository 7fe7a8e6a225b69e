-- Generation 2: how well the agent spoke.
-- target: communication_quality
-- shape: communication_quality (id, audio_properties_id, honorific_ratio)
-- reference: audio_file_id to audio_properties
select
    source_rowid,
    id,
    audio_properties_id as audio_file_id,
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
    analysis_details,
    created_at,
    updated_at
from communication_quality
