-- Generation 3: what an agent did in the application.
-- target: agent_activity_logs
-- shape: agent_activity_logs (id, agent_id, activity_type)
-- file: consultation_quality
-- reference: agent_id to agent_profiles
select
    source_rowid,
    id,
    agent_id,
    activity_type,
    activity_description,
    ip_address,
    user_agent,
    session_id,
    activity_data,
    created_at
from agent_activity_logs
