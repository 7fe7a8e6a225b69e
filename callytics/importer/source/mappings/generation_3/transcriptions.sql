-- Generation 3: what was said from when to when.
-- target: transcriptions
-- shape: transcriptions (id, audio_file_id, speaker_segment_id)
-- file: audio_analysis
-- reference: audio_file_id to audio_files
-- reference: speaker_segment_id to speaker_segments
select
    source_rowid,
    id,
    audio_file_id,
    speaker_segment_id,
    text_content,
    start_time,
    end_time,
    confidence,
    language,
    punctuation_restored,
    created_at
from transcriptions
