-- Generation 2: what a consultation was about and how it ended.
-- target: consultation_analysis
-- shape: consultation_analysis (id, audio_properties_id, business_type)
-- reference: audio_file_id to audio_properties
select
    source_rowid,
    id,
    audio_properties_id as audio_file_id,
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
