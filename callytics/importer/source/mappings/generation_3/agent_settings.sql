-- Generation 3: settings of an agent.
-- target: agent_settings
-- shape: agent_settings (id, agent_id, language_preference)
-- file: consultation_quality
-- reference: agent_id to agent_profiles
select
    source_rowid,
    id,
    agent_id,
    language_preference,
    timezone,
    notification_preferences,
    dashboard_preferences,
    analysis_preferences,
    privacy_settings,
    created_at,
    updated_at
from agent_settings
