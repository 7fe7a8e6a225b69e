-- Generation 3: what an agent may do.
-- target: agent_permissions
-- shape: agent_permissions (id, agent_id, permission_type)
-- file: consultation_quality
-- reference: agent_id to agent_profiles
-- reference: granted_by to agent_profiles
select
    source_rowid,
    id,
    agent_id,
    permission_type,
    permission_level,
    granted_at,
    granted_by,
    expires_at,
    is_active
from agent_permissions
