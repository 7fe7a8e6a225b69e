-- transactional: false
-- Takes this index away.
drop index concurrently if exists agent_activity_logs_agent_id_idx;
