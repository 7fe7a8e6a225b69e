-- Generation 3: teams.
-- target: agent_teams
-- shape: agent_teams (id, team_name, department)
-- file: consultation_quality
-- reference: team_leader_id to agent_profiles
select
    source_rowid,
    id,
    team_name,
    department,
    team_leader_id,
    team_description,
    team_size,
    is_active,
    created_at,
    updated_at
from agent_teams
