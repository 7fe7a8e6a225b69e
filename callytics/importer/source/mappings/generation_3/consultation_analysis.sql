-- Generation 3: what a consultation was about and how it ended.
-- target: consultation_analysis
-- shape: consultation_analysis (id, consultation_id, audio_path)
-- file: consultation_quality
select
    source_rowid,
    id,
    consultation_id,
    audio_path,
    business_type,
    classification_type,
    detail_classification,
    consultation_result,
    summary,
    customer_request,
    solution,
    additional_info,
    confidence,
    processing_time,
    created_at
from consultation_analysis
