-- Views over the temporary tables that ../__init__.py fills (their columns: ../calls.py).
-- A dice is a number from 0 to 1 that depends on the call's noise and the other row's salt, and on nothing else.

-- name: spoken
-- Every sentence of every call of the batch: the script's, in the call's tempo and with its names.
create temp view spoken as
select call.id, call.number, call.file_name, call.created, call.session, call.completed,
       call.first_turn, call.quality,
       turn.n, turn.phase, turn.speaker, turn.tone, turn.profane, turn.marks, turn.patterns,
       iif(turn.has_slots,
           replace(replace(replace(replace(replace(replace(turn.text,
               '{agent}', call.agent_name), '{customer}', call.customer), '{last4}', call.last4),
               '{amount}', call.amount), '{plan}', call.plan), '{due}', call.due),
           turn.text) as text,
       call.shift + turn.start * call.tempo as start_time,
       call.shift + turn.end * call.tempo as end_time,
       (call.noise * turn.salt >> 8 & 16383) / 16383.0 as dice,
       (call.noise * turn.salt >> 22 & 16383) / 16383.0 as dice2
from temp.call cross join temp.turn on turn.script = call.script;

-- Every phase of every call of the batch.
create temp view each_phase as
select call.*, phase.n, phase.name,
       call.shift + phase.start * call.tempo as start_time,
       call.shift + phase.end * call.tempo as end_time,
       (call.noise * phase.salt >> 8 & 16383) / 16383.0 as dice,
       (call.noise * phase.salt >> 22 & 16383) / 16383.0 as dice2,
       (call.noise * phase.salt >> 36 & 16383) / 16383.0 as dice3
from temp.call cross join temp.phase on phase.script = call.script
where call.completed;

-- Every keyword of every call of the batch.
create temp view each_keyword as
select call.*, keyword.keyword, keyword.category,
       (call.noise * keyword.salt >> 8 & 16383) / 16383.0 as dice,
       (call.noise * keyword.salt >> 22 & 16383) / 16383.0 as dice2
from temp.call cross join temp.keyword on keyword.scenario = call.scenario
where call.completed;

-- What was measured of the audio of each call; the numbers have the digits of 32-bit floats, as librosa's have.
create temp view measured as
select call.*,
       (call.noise * 1640531527 >> 8 & 16383) / 16384.0 as dice,
       (call.noise * 1640531527 >> 22 & 16383) / 16384.0 as dice2,
       (call.noise * 1640531527 >> 36 & 16383) / 16384.0 as dice3,
       -480.0 + (call.noise * 40503 & 1048575) / 4096.0 as mfcc_1,
       90.0 + (call.noise * 30011 >> 3 & 1048575) / 16384.0 as mfcc_2,
       -20.0 + (call.noise * 30013 >> 4 & 1048575) / 16384.0 as mfcc_3,
       -30.0 + (call.noise * 30029 >> 5 & 1048575) / 16384.0 as mfcc_4,
       -10.0 + (call.noise * 30047 >> 6 & 1048575) / 32768.0 as mfcc_5,
       -12.0 + (call.noise * 30059 >> 7 & 1048575) / 32768.0 as mfcc_6,
       -22.0 + (call.noise * 30071 >> 8 & 1048575) / 32768.0 as mfcc_7,
       -16.0 + (call.noise * 30089 >> 9 & 1048575) / 32768.0 as mfcc_8,
       -8.0 + (call.noise * 30091 >> 10 & 1048575) / 65536.0 as mfcc_9,
       -8.0 + (call.noise * 30097 >> 11 & 1048575) / 65536.0 as mfcc_10,
       -8.0 + (call.noise * 30103 >> 12 & 1048575) / 65536.0 as mfcc_11,
       -6.0 + (call.noise * 30109 >> 13 & 1048575) / 131072.0 as mfcc_12,
       -4.0 + (call.noise * 30113 >> 14 & 1048575) / 131072.0 as mfcc_13
from temp.call;

-- name: each
-- Every completed call of the batch with every row of the word list WORD.
create temp view each_WORD as
select call.*, WORD.*,
       (call.noise * WORD.salt >> 8 & 16383) / 16383.0 as dice,
       (call.noise * WORD.salt >> 22 & 16383) / 16383.0 as dice2,
       (call.noise * WORD.salt >> 36 & 16383) / 16383.0 as dice3
from temp.call cross join temp.WORD
where call.completed;
