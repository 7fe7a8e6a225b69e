-- Generation 3: who spoke from when to when.
-- target: speaker_segments
-- shape: speaker_segments (id, audio_file_id, speaker_id)
-- file: audio_analysis
-- reference: audio_file_id to audio_files
select
    source_rowid,
    id,
    audio_file_id,
    speaker_id,
    start_time,
    end_time,
    confidence,
    speaker_type,
    created_at
from speaker_segments
