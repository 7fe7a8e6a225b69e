-- Generation 3: the agent's behaviour in a session.
-- target: agent_behavior_analysis
-- shape: agent_behavior_analysis (id, session_id, behavior_type)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    behavior_type,
    behavior_score,
    behavior_frequency,
    behavior_duration,
    behavior_effectiveness,
    behavior_context,
    customer_response,
    improvement_opportunity,
    best_practice_demonstrated,
    created_at
from agent_behavior_analysis
