-- Generation 2: quality flags of a sentence.
-- target: communication_quality_details
-- shape: communication_quality_details (id, communication_quality_id, sentence_text)
-- reference: communication_quality_id to communication_quality
select
    source_rowid,
    id,
    communication_quality_id,
    sentence_text,
    sentence_order,
    has_honorific,
    has_positive_word,
    has_negative_word,
    has_euphonious_word,
    has_empathy,
    has_apology,
    matched_patterns,
    created_at
from communication_quality_details
