-- transactional: false
-- depends: 0020.index-llm
-- Agents: what belongs to one, and every foreign key to one, so that a profile can be deleted without reading whole tables.
-- The sources' indexes on username, email and employee_id repeat a unique key; those on status, department and position would
-- be on tables of a few hundred rows.

-- A superior's people: where supervisor_id = …
create index concurrently if not exists agent_profiles_supervisor_id_idx on agent_profiles (supervisor_id);

-- What an agent may do: where agent_id = …
create index concurrently if not exists agent_permissions_agent_id_idx on agent_permissions (agent_id);

create index concurrently if not exists agent_permissions_granted_by_idx on agent_permissions (granted_by);

-- agent_performance_trends, agent_summary_view: evaluations of an agent, by day.
create index concurrently if not exists agent_performance_history_agent_id_idx on agent_performance_history (agent_id, evaluation_date);

-- Evaluations of a session; cascading deletes.
create index concurrently if not exists agent_performance_history_session_id_idx on agent_performance_history (session_id);

create index concurrently if not exists agent_performance_history_evaluator_id_idx on agent_performance_history (evaluator_id);

-- Trainings of an agent, by day.
create index concurrently if not exists agent_training_history_agent_id_idx on agent_training_history (agent_id, training_date);

create index concurrently if not exists agent_teams_team_leader_id_idx on agent_teams (team_leader_id);

-- count_team_members(): the members of a team. Those of an agent are found by the unique key.
create index concurrently if not exists agent_team_memberships_team_id_idx on agent_team_memberships (team_id);
