-- Generation 3: who said what.
-- target: utterances
-- shape: utterances (id, audio_path, speaker)
-- file: consultation_quality
select
    source_rowid,
    id,
    audio_path,
    speaker,
    start_time,
    end_time,
    text,
    confidence,
    sequence,
    sentiment,
    profane,
    created_at
from utterances
