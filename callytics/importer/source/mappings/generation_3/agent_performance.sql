-- Generation 3: an agent's result in a session.
-- target: agent_performance
-- shape: agent_performance (id, agent_name, session_id)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    agent_name,
    session_id,
    performance_score,
    strengths,
    areas_for_improvement,
    training_recommendations,
    created_at
from agent_performance
