-- Generation 3: who is in which team.
-- target: agent_team_memberships
-- shape: agent_team_memberships (id, agent_id, team_id)
-- file: consultation_quality
-- reference: agent_id to agent_profiles
-- reference: team_id to agent_teams
select
    source_rowid,
    id,
    agent_id,
    team_id,
    role_in_team,
    joined_date,
    left_date,
    is_active,
    created_at
from agent_team_memberships
