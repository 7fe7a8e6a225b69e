-- Generation 3: a recording and how far its processing got.
-- target: audio_files
-- shape: audio_files (id, file_path, processing_status)
-- file: audio_analysis
select
    source_rowid,
    id,
    file_path,
    file_name,
    file_size,
    duration_seconds,
    sample_rate,
    channels,
    format,
    upload_timestamp,
    processing_status,
    processing_completed_at,
    error_message,
    created_at,
    updated_at
from audio_files
