-- transactional: false
-- depends: 0021.index-agents
-- agent_summary_view, and an agent's latest activities: where agent_id = … and created_at >= …; cascading deletes.
-- The sources' index on created_at alone is what the months of the partitioned table are for; activity_type has seven values.

create index concurrently if not exists agent_activity_logs_agent_id_idx on agent_activity_logs (agent_id, created_at);
