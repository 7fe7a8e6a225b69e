-- transactional: false
-- Takes these indexes away.
drop index concurrently if exists agent_team_memberships_team_id_idx;
drop index concurrently if exists agent_teams_team_leader_id_idx;
drop index concurrently if exists agent_training_history_agent_id_idx;
drop index concurrently if exists agent_performance_history_evaluator_id_idx;
drop index concurrently if exists agent_performance_history_session_id_idx;
drop index concurrently if exists agent_performance_history_agent_id_idx;
drop index concurrently if exists agent_permissions_granted_by_idx;
drop index concurrently if exists agent_permissions_agent_id_idx;
drop index concurrently if exists agent_profiles_supervisor_id_idx;
