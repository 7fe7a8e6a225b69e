-- Generation 3: training of an agent.
-- target: agent_training_history
-- shape: agent_training_history (id, agent_id, training_type)
-- file: consultation_quality
-- reference: agent_id to agent_profiles
select
    source_rowid,
    id,
    agent_id,
    training_type,
    training_name,
    training_provider,
    training_date,
    training_duration_hours,
    completion_status,
    score,
    certificate_path,
    training_notes,
    impact_on_performance,
    created_at
from agent_training_history
