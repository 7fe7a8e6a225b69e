-- Generation 3: evaluations of an agent.
-- target: agent_performance_history
-- shape: agent_performance_history (id, agent_id, session_id)
-- file: consultation_quality
-- reference: agent_id to agent_profiles
-- reference: evaluator_id to agent_profiles
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    agent_id,
    session_id,
    performance_score,
    quality_score,
    customer_satisfaction_score,
    resolution_rate,
    average_handling_time,
    session_count,
    strengths_identified,
    areas_for_improvement,
    training_recommendations,
    evaluation_date,
    evaluator_id,
    evaluation_notes,
    created_at
from agent_performance_history
