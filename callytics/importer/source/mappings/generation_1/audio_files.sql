-- Generation 1: what a recording is.
-- target: audio_files
-- shape: File (ID, Name, Summary)
select
    source_rowid,
    ID as id,
    Path as file_path,
    Name as file_name,
    Duration as duration_seconds,
    Rate as sample_rate,
    Channels as channels,
    Extension as format
from File
