-- Lets an id stand in several partitions again; the rows stay.
drop trigger if exists transcriptions_one_row_an_id on transcriptions;

drop trigger if exists transcriptions_one_row_an_id_still on transcriptions;

drop trigger if exists utterances_one_row_an_id on utterances;

drop trigger if exists utterances_one_row_an_id_still on utterances;

drop trigger if exists processing_logs_one_row_an_id on processing_logs;

drop trigger if exists processing_logs_one_row_an_id_still on processing_logs;

drop trigger if exists agent_activity_logs_one_row_an_id on agent_activity_logs;

drop trigger if exists agent_activity_logs_one_row_an_id_still on agent_activity_logs;

drop function if exists refuse_second_id();
