-- The rows of generation 1.

-- name: before
-- Topic 1 is what the application calls a call without a topic.
insert into Topic (ID, Name) values (1, 'Unknown');
insert into Topic (ID, Name) select n + 2, topic from temp.scenario order by n;

-- name: batch
-- The calls and what was said in them. Whisper ends each sentence with a space and gives times in hundredths
-- (cut, because round() takes longer than all the rest), and counting starts at 0.
insert into File
select id, file_name,
       case when dice3 < 0.01 then null when dice3 < 0.04 then 1 else scenario + 2 end,
       '.mp3', '/home/callytics/Callytics/.data/input/' || file_name,
       iif(number % 5 = 0, 44100, 16000),
       0.01 + dice / 1024, iif(number % 5 = 0, 22050.000000000004, 8000.0), null, 1 + (number % 5 = 0), duration,
       0.02 + 0.06 * dice, 0.04 + 0.08 * dice2, 700.0 + 900.0 * dice3,
       30000.0 + 60000.0 * dice2, 60000.0 + 50000.0 * dice, 500.0 + 900.0 * dice3, 1.0e-6 * (1.0 + dice),
       mfcc_1, mfcc_2, mfcc_3, mfcc_4, mfcc_5, mfcc_6, mfcc_7, mfcc_8, mfcc_9, mfcc_10, mfcc_11, mfcc_12, mfcc_13,
       summary, quality < 0.3, iif(dice2 < 0.3, 0.0, 400.0 + 900.0 * dice)
from measured
order by id;

insert into Utterance (FileID, Speaker, Sequence, StartTime, EndTime, Content, Sentiment, Profane)
select id, iif(speaker = 'A', 'CSR', 'Customer'), n,
       cast(100 * start_time as integer) / 100.0, cast(100 * end_time as integer) / 100.0, text,
       case tone when 1 then 'Positive' when -1 then 'Negative' else 'Neutral' end, profane
from spoken;

-- name: after
-- The last calls were deleted again: the next id is not the highest plus one.
update sqlite_sequence set seq = seq + 3 where name = 'File';
update sqlite_sequence set seq = seq + 81 where name = 'Utterance';
