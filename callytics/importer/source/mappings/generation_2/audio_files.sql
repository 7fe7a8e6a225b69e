-- Generation 2: what a recording is.
-- target: audio_files
-- shape: audio_properties (id, file_path, file_name)
select
    source_rowid,
    id,
    file_path,
    file_name,
    duration as duration_seconds,
    sample_rate,
    channels,
    extension as format,
    created_at
from audio_properties
