-- Generation 1: who said what.
-- target: utterances
-- shape: Utterance (ID, FileID, Content)
-- reference: audio_file_id to File
select
    source_rowid,
    ID as id,
    FileID as audio_file_id,
    Speaker as speaker,
    StartTime as start_time,
    EndTime as end_time,
    Content as text,
    Sequence as sequence,
    Sentiment as sentiment,
    Profane as profane
from Utterance
