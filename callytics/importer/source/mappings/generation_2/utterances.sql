-- Generation 2: who said what.
-- target: utterances
-- shape: utterances (id, audio_properties_id, speaker)
-- reference: audio_file_id to audio_properties
select
    source_rowid,
    id,
    audio_properties_id as audio_file_id,
    speaker,
    start_time,
    end_time,
    text,
    confidence,
    created_at,
    sequence,
    sentiment,
    profane
from utterances
