-- Generation 3: the steps of processing a recording.
-- target: processing_logs
-- shape: processing_logs (id, audio_file_id, processing_step)
-- file: audio_analysis
-- reference: audio_file_id to audio_files
select
    source_rowid,
    id,
    audio_file_id,
    processing_step,
    status,
    start_time,
    end_time,
    duration_seconds,
    error_message,
    created_at
from processing_logs
