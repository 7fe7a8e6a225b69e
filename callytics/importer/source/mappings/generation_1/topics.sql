-- Generation 1: what a call was about.
-- target: topics
-- shape: Topic (ID, Name)
select
    source_rowid,
    ID as id,
    Name as name
from Topic
