-- transactional: false
-- Takes this index away.
drop index concurrently if exists consultation_sessions_calls_of_agents_idx;
